#pragma once
// Catch2 3 (Ubuntu 24.04) and Catch2 2 (Debian 12) name their headers, Approx and the substring matcher
// differently.
#include <string>
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
namespace moebius::test {
using Catch::Approx;
inline auto contains(const std::string& text) {
  return Catch::Matchers::ContainsSubstring(text);
}
}  // namespace moebius::test
#else
#include <catch2/catch.hpp>
namespace moebius::test {
using Approx = Catch::Detail::Approx;
inline auto contains(const std::string& text) {
  return Catch::Contains(text);
}
}  // namespace moebius::test
#endif
