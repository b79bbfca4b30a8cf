#pragma once
#include "models/models.h"

namespace moebius::test {

/// Expert layers with a dense one between, attention biases, tied embeddings.
inline models::ModelConfig tiny_moe() {
  return models::read_config(R"({
    "model_type": "qwen3_moe", "vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 3,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 6, "intermediate_size": 40,
    "num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 12, "norm_topk_prob": true,
    "mlp_only_layers": [1], "attention_bias": true, "tie_word_embeddings": true,
    "initializer_range": 0.3, "rope_theta": 1000})",
                             "tiny_moe");
}

/// Dense, biases on q, k and v, no norm on queries and keys, an output head of its own.
inline models::ModelConfig tiny_dense() {
  return models::read_config(R"({
    "model_type": "qwen2", "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 24,
    "initializer_range": 0.3, "rope_theta": 1000})",
                             "tiny_dense");
}

}  // namespace moebius::test
