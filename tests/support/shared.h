#pragma once
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>

namespace moebius::test {

/// The folder of real tokenizers, tiny models and expected results that some tests compare with:
/// $MOEBIUS_SHARED, else `shared` beside the repository. It is no part of the project: where it is absent,
/// this says so once a call and gives nothing, and the test returns.
inline std::optional<std::filesystem::path> shared_folder() {
  namespace fs = std::filesystem;
  const char* named = std::getenv("MOEBIUS_SHARED");
  const fs::path folder =
      named != nullptr ? fs::path(named) : fs::path(__FILE__).parent_path() / "../../../shared";
  if (fs::is_directory(folder / "data")) return fs::canonical(folder);
  std::fprintf(stderr, "skipped: %s has no shared test data (name its folder in MOEBIUS_SHARED)\n",
               folder.lexically_normal().c_str());
  return std::nullopt;
}

}  // namespace moebius::test
