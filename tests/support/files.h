#pragma once
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace moebius::test {

/// The bytes of a file; empty where there is none. (base/file.h refuses that, and files without a length such
/// as those of /proc.)
inline std::string slurp(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void spill(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace moebius::test
