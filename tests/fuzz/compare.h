#pragma once
#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz_job.h"

namespace moebius::fuzz {

/// What a difference is measured in and how large it may be.
struct Measure {
  const char* name;
  double limit;
};
/// Of metrics: the largest |mesh - alone| / |alone| of all steps. Of tensors of the last checkpoint: the
/// largest |mesh - alone| of a parameter (2-norm) by the size that it is expected to have, see compare.cpp.
///
///   loss, aux_loss   1e-5  sums of as many terms as there are tokens, in fp32
///   grad_norm, z     1e-4  gradients of few tokens cancel; the z loss is a square of logits near zero
///   exp_avg          1e-3  the gradients themselves, element by element
///   parameters       1e-3  the error of a tiny gradient is that of a step of Adam, which has one size for
///                          all; biases, zeros at the start, consist of such steps
inline constexpr std::array kMeasures{Measure{"loss", 1e-5},      Measure{"grad_norm", 1e-4},
                                      Measure{"aux_loss", 1e-5},  Measure{"z_loss", 1e-4},
                                      Measure{"exp_avg", 1e-3},   Measure{"exp_avg_sq", 1e-3},
                                      Measure{"parameters", 1e-3}};

/// {"loss": 1.2e-7, ..., "exp_avg": 3e-6, "exp_avg_of": "layers.0.qkv"}: the differences between the mesh's
/// run and the one of one rank. Throws std::runtime_error where one of them wrote less than the other, Error
/// where a checkpoint is damaged.
[[nodiscard]] nlohmann::json differences(const JobFolder& folder);

/// One of them by its name: 0 where it was not measured, infinity where it is no number.
[[nodiscard]] double difference(const nlohmann::json& differences, const std::string& name);

/// The measures that are beyond their limits, "loss 3e-4 (1e-5)"; empty where all is well.
[[nodiscard]] std::string beyond_limits(const nlohmann::json& differences);

}  // namespace moebius::fuzz
