#pragma once
#include <cstdint>

namespace moebius::optimizer {

enum class Decline : std::uint8_t { cosine, linear, constant };

/// Iteration k, from 0, of n = `iterations`; w = warmup_fraction * n, not rounded:
///
///   k < w      peak * k / w
///   cosine     lowest + (peak - lowest) * (1 + cos(pi * d)) / 2      with d = (k - w) / (n - w)
///   linear     peak - (peak - lowest) * d
///   constant   peak
struct Schedule {
  double peak = 1e-5, lowest = 0;
  Decline decline = Decline::cosine;
  double warmup_fraction = 0;
  std::int64_t iterations = 0;
};

[[nodiscard]] double learning_rate(const Schedule& schedule, std::int64_t iteration);

}  // namespace moebius::optimizer
