#pragma once
#include <filesystem>

namespace moebius::test {

/// The top of the source tree that this program was built from.
inline std::filesystem::path repository() {
  return std::filesystem::path(__FILE__).parent_path().parent_path().parent_path();
}

}  // namespace moebius::test
