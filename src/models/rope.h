#pragma once
#include <vector>

#include "models/config.h"

namespace moebius::models {

/// The rotary frequencies of a model, as transformers' modeling_rope_utils.py computes them.
struct RopeFrequencies {
  std::vector<double> inverse;  // [head_dim / 2]
  double factor = 1;            // of cosines and sines
};
[[nodiscard]] RopeFrequencies rope_frequencies(const ModelConfig& config);

/// yarn's default for attention_factor (Peng et al. 2023, arXiv:2309.00071, section 3.4): 0.1 m ln(factor)
/// + 1.
[[nodiscard]] double yarn_attention_factor(double factor, double m = 1);

}  // namespace moebius::models
