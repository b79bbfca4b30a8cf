#pragma once
#include "models/config.h"
#include "models/config_reader.h"

/// The keys of config.json that the families share.
namespace moebius::models {

/// Sizes, norms, rotary embedding, start values, end tokens; refuses what no family has built: another
/// activation, dropout, quantised weights, heads that are not causal language models.
void read_common_keys(const ConfigReader& reader, ModelConfig& config);

/// The keys of dense families: intermediate_size and no experts.
void read_dense_keys(const ConfigReader& reader, ModelConfig& config);

/// What a family takes for head_dim where the key is missing.
enum class HeadDim : std::uint8_t {
  of_hidden,  // hidden_size / num_attention_heads
  of_qwen3    // 128
};
void read_head_dim(const ConfigReader& reader, HeadDim fallback, ModelConfig& config);

/// attention_bias: on q, k, v and the output projection.
void read_attention_bias(const ConfigReader& reader, ModelConfig& config);

/// Which layers a family lets attend through a sliding window when use_sliding_window is on.
enum class SlidingLayers : std::uint8_t {
  all,
  from_max_window_layers,  // or as layer_types says
};
/// Refuses a sliding window that is in use: attention over a window is not built.
void refuse_sliding_window(const ConfigReader& reader, SlidingLayers layers, const ModelConfig& config);

/// Contradictions between sizes.
void check_sizes(const ConfigReader& reader, const ModelConfig& config);

}  // namespace moebius::models
