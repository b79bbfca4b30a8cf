#pragma once
// Catch2 3 (Ubuntu 24.04) and Catch2 2 (Debian 12) name their headers, and Approx, differently.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
namespace moebius::test {
using Approx = Catch::Approx;
}
#else
#include <catch2/catch.hpp>
namespace moebius::test {
using Approx = Catch::Detail::Approx;
}
#endif
