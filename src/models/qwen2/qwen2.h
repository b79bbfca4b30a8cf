#pragma once
#include "models/models.h"

namespace moebius::models {

void read_qwen2(const ConfigReader& reader, ModelConfig& config);
[[nodiscard]] ParameterTable qwen2_parameters(const ModelConfig& config);

/// Qwen2 and Qwen2.5: dense; biases on q, k and v; no norm on queries and keys.
inline constexpr Family kQwen2{"qwen2", read_qwen2, qwen2_parameters};

}  // namespace moebius::models
