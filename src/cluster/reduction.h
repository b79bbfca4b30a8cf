#pragma once
#include <cstdint>

namespace moebius::cluster {

/// How a collective combines the values of several ranks.
enum class Reduction : std::uint8_t { sum, max, min };

}  // namespace moebius::cluster
