#pragma once
#include "models/models.h"

namespace moebius::models {

void read_qwen3_moe(const ConfigReader& reader, ModelConfig& config);
[[nodiscard]] ParameterTable qwen3_moe_parameters(const ModelConfig& config);

/// Qwen3-MoE: Qwen3 with experts in all layers, or in every decoder_sparse_step-th but mlp_only_layers.
inline constexpr Family kQwen3Moe{"qwen3_moe", read_qwen3_moe, qwen3_moe_parameters};

}  // namespace moebius::models
