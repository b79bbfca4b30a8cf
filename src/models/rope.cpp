#include "models/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace moebius::models {
namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;

/// Fast entries keep their frequency, slow ones are divided by the factor, a ramp lies between.
void stretch_yarn(const ModelConfig& config, std::vector<double>& inverse) {
  const RopeScaling& scaling = config.rope_scaling;
  const auto entry_that_turns = [&](double times) {
    return double(config.head_dim) * std::log(double(scaling.original_length) / (times * kTwoPi)) /
           (2 * std::log(config.rope_theta));
  };
  double low = entry_that_turns(scaling.beta_fast), high = entry_that_turns(scaling.beta_slow);
  if (scaling.whole_bounds) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, double(config.head_dim - 1));
  if (low == high) high += 0.001;
  for (std::size_t i = 0; i < inverse.size(); ++i) {
    const double slow = std::clamp((double(i) - low) / (high - low), 0.0, 1.0);
    inverse[i] = inverse[i] / scaling.factor * slow + inverse[i] * (1 - slow);
  }
}

/// Wavelengths above one bound are divided by the factor, below the other kept, blended between.
void stretch_llama3(const RopeScaling& scaling, std::vector<double>& inverse) {
  const double length = double(scaling.original_length);
  for (double& frequency : inverse) {
    const double wavelength = kTwoPi / frequency;
    if (wavelength < length / scaling.high_frequency_factor) continue;
    if (wavelength > length / scaling.low_frequency_factor) {
      frequency /= scaling.factor;
      continue;
    }
    const double kept = (length / wavelength - scaling.low_frequency_factor) /
                        (scaling.high_frequency_factor - scaling.low_frequency_factor);
    frequency *= (1 - kept) / scaling.factor + kept;
  }
}

}  // namespace

double yarn_attention_factor(double factor, double m) {
  return factor <= 1 ? 1 : 0.1 * m * std::log(factor) + 1;
}

RopeFrequencies rope_frequencies(const ModelConfig& config) {
  RopeFrequencies frequencies;
  for (std::int64_t i = 0; i < config.head_dim; i += 2) {
    frequencies.inverse.push_back(std::pow(config.rope_theta, -double(i) / double(config.head_dim)));
  }
  const RopeScaling& scaling = config.rope_scaling;
  switch (scaling.kind) {
    case RopeScaling::Kind::none: break;
    case RopeScaling::Kind::linear:
      for (double& frequency : frequencies.inverse) frequency /= scaling.factor;
      break;
    case RopeScaling::Kind::yarn:
      stretch_yarn(config, frequencies.inverse);
      frequencies.factor = scaling.attention_factor;
      break;
    case RopeScaling::Kind::llama3: stretch_llama3(scaling, frequencies.inverse); break;
  }
  return frequencies;
}

}  // namespace moebius::models
