#pragma once
#include <string_view>

#include "models/config.h"
#include "models/parameter_table.h"

namespace moebius::models {

/// Hugging Face's names of a decoder's tensors. Inside a layer they follow "model.layers.<n>.".
struct HubNames {
  std::string_view attention, attention_norm, mlp, mlp_norm;
};
/// As transformers' Qwen2, Qwen3 and Qwen3-MoE classes name them.
inline constexpr HubNames kQwenNames{"self_attn", "input_layernorm", "mlp", "post_attention_layernorm"};

/// The rows of a decoder, in the order of the computation:
///
///   embedding                          [vocab, hidden]               vocabulary over tensor
///   layers.<n>.attention_norm          [hidden]
///   layers.<n>.attention.q, .k, .v     [heads * head_dim, hidden]    heads over tensor; one matrix in memory
///   layers.<n>.attention.{q,k,v}_bias  [heads * head_dim]            likewise, one vector
///   layers.<n>.attention.{q,k}_norm    [head_dim]
///   layers.<n>.attention.o, .o_bias    [hidden, heads * head_dim], [hidden]
///   layers.<n>.mlp_norm                [hidden]
///   layers.<n>.mlp.gate_up, .down      [2, width, hidden], [hidden, width]      width over tensor
///   layers.<n>.router                  [experts, hidden]
///   layers.<n>.experts.gate_up         [experts, 2, width, hidden]   experts over expert, width over
///   layers.<n>.experts.down            [experts, hidden, width]      expert_tensor
///   norm                               [hidden]
///   lm_head                            [vocab, hidden]               none with tied embeddings
[[nodiscard]] ParameterTable decoder_parameters(const ModelConfig& config, const HubNames& names);

}  // namespace moebius::models
