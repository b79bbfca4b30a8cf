#include "training/cache_folders.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

#include "base/file.h"
#include "base/text.h"

namespace moebius::training {
namespace {

constexpr const char* kMarker = "complete";  // holds the number of parts; written when all of them are whole
constexpr std::int64_t kLongestMarker = 64;

}  // namespace

std::filesystem::path CacheFolders::folder_of(const std::string& key) {
  std::string name = fmt::format("{}{:016x}", prefix_, fingerprint(key));
  name = cluster_.broadcast("cache name", std::move(name));
  used_.push_back(name);
  return folder_ / name;
}

std::int64_t CacheFolders::finished_parts(const std::filesystem::path& folder) {
  std::int64_t parts = 0;
  cluster_.on_first_rank("look into the cache", [&] {
    if (!std::filesystem::exists(folder / kMarker)) return;
    const std::string text = read_file(folder / kMarker, kLongestMarker);
    std::from_chars(text.data(), text.data() + text.size(), parts);
  });
  return cluster_.all_reduce("cache parts", parts, cluster::Reduction::max);
}

void CacheFolders::begin(const std::filesystem::path& folder) {
  cluster_.on_first_rank("make the cache folder", [&] {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
  });
}

void CacheFolders::finish(const std::filesystem::path& folder, std::int64_t parts) {
  cluster_.on_first_rank("finish the cache folder",
                         [&] { write_file(folder / kMarker, std::to_string(parts)); });
}

void CacheFolders::remove_others() {
  cluster_.on_first_rank("clear the cache", [&] {
    if (!std::filesystem::is_directory(folder_)) return;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      const std::string name = entry.path().filename();
      const bool is_ours = name.starts_with(prefix_) && entry.is_directory();
      if (is_ours && std::ranges::find(used_, name) == used_.end()) std::filesystem::remove_all(entry.path());
    }
  });
}

}  // namespace moebius::training
