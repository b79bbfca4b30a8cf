#pragma once
#include "models/models.h"

namespace moebius::models {

void read_qwen3(const ConfigReader& reader, ModelConfig& config);
[[nodiscard]] ParameterTable qwen3_parameters(const ModelConfig& config);

/// Qwen3: dense; a norm on each head's queries and keys.
inline constexpr Family kQwen3{"qwen3", read_qwen3, qwen3_parameters};

}  // namespace moebius::models
