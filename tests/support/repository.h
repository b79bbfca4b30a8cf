#pragma once
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace moebius::test {

/// The top of the source tree that this program was built from.
inline std::filesystem::path repository() {
  return std::filesystem::path(__FILE__).parent_path().parent_path().parent_path();
}

inline std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace moebius::test
