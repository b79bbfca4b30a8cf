#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moebius::models {

/// How rotary frequencies are stretched beyond the length that a model was trained on (rope.h computes them).
/// Other kinds are refused when the config is read.
struct RopeScaling {
  enum class Kind : std::uint8_t { none, linear, yarn, llama3 } kind = Kind::none;
  double factor = 1;
  std::int64_t original_length = 0;                            // original_max_position_embeddings
  double beta_fast = 32, beta_slow = 1;                        // yarn
  bool whole_bounds = true;                                    // yarn: truncate
  double attention_factor = 1;                                 // yarn; what cosines and sines are scaled by
  double low_frequency_factor = 1, high_frequency_factor = 4;  // llama3

  friend bool operator==(const RopeScaling&, const RopeScaling&) = default;
};

/// What config.json says about the mathematics, in our words (Hugging Face's key after each).
struct ModelConfig {
  std::string family;              // model_type: qwen3_moe, qwen3, qwen2
  std::int64_t vocab = 0;          // vocab_size
  std::int64_t hidden = 0;         // hidden_size
  std::int64_t layers = 0;         // num_hidden_layers
  std::int64_t heads = 0;          // num_attention_heads
  std::int64_t kv_heads = 0;       // num_key_value_heads
  std::int64_t head_dim = 0;       // head_dim
  std::int64_t dense_width = 0;    // intermediate_size
  std::int64_t experts = 0;        // num_experts or num_local_experts; 0 for dense models
  std::int64_t top_k = 0;          // num_experts_per_tok
  std::int64_t expert_width = 0;   // moe_intermediate_size
  std::vector<bool> is_moe_layer;  // [layers]; from decoder_sparse_step and mlp_only_layers
  enum class TopkWeights : std::uint8_t {
    as_softmax,
    sum_to_one
  } topk_weights = TopkWeights::sum_to_one;  // norm_topk_prob
  bool qkv_bias = false;                     // attention_bias (qwen2: always)
  bool output_bias = false;                  // attention_bias (qwen2: never)
  bool qk_norm = false;                      // qwen3 families
  bool tied_embeddings = false;              // tie_word_embeddings
  double rms_epsilon = 1e-6;                 // rms_norm_eps
  double rope_theta = 10000;                 // rope_theta or rope_parameters.rope_theta
  RopeScaling rope_scaling;                  // rope_scaling or rope_parameters
  std::int64_t max_positions = 0;            // max_position_embeddings
  double init_deviation = 0.02;              // initializer_range
  std::vector<std::int64_t> end_tokens;      // eos_token_id (one or several)
  std::optional<std::string> dtype;          // torch_dtype or dtype, of the folder's weights

  friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
  /// Whether the weights of one give the same results in the other.
  [[nodiscard]] bool computes_as(ModelConfig other) const {
    other.max_positions = max_positions;
    other.init_deviation = init_deviation;
    other.end_tokens = end_tokens;
    other.dtype = dtype;
    return other == *this;
  }
};

}  // namespace moebius::models
