#pragma once
#include <cstdint>

namespace moebius::models {

/// What backward makes again instead of keeping it from forward to backward.
enum class Recompute : std::uint8_t {
  nothing,
  selective,  // of each layer: normalised inputs, queries and keys as they attend, rows by expert, MLP before
              // `down`
  full        // everything but the stream that goes into a group of layers
};

}  // namespace moebius::models
