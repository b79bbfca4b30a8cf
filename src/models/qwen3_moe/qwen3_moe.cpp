#include "models/qwen3_moe/qwen3_moe.h"

#include <algorithm>
#include <fmt/format.h>

#include "models/decoder/config_keys.h"
#include "models/decoder/parameters.h"

namespace moebius::models {
namespace {

constexpr ConfigReader::Bounds kExperts{0, 1 << 16};
constexpr ConfigReader::Bounds kWidth{1, 1 << 22};

/// As Qwen3MoeDecoderLayer chooses: counted from 1, every sparse_step-th layer that is not in the list.
void read_moe_layers(const ConfigReader& reader, ModelConfig& config) {
  const std::int64_t step = reader.integer_or("decoder_sparse_step", 1, {1, 1 << 20});
  const std::vector<std::int64_t> dense = reader.integers("mlp_only_layers", {0, config.layers - 1});
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const bool is_dense = std::ranges::count(dense, layer) > 0;
    config.is_moe_layer.push_back(config.experts > 0 && (layer + 1) % step == 0 && !is_dense);
  }
}

/// Keys of other families that some folders carry; transformers does not read them.
void refuse_other_architectures(const ConfigReader& reader) {
  if (reader.integer_or("shared_expert_intermediate_size", 0, {0, 1 << 22}) != 0) {
    reader.refuse("shared_expert_intermediate_size",
                  "asks for a shared expert, which qwen3_moe does not have");
  }
  if (!reader.flag_or("use_qk_norm", true)) {
    reader.refuse("use_qk_norm", "contradicts model_type qwen3_moe, which normalises queries and keys");
  }
}

}  // namespace

void read_qwen3_moe(const ConfigReader& reader, ModelConfig& config) {
  refuse_other_architectures(reader);
  read_head_dim(reader, HeadDim::of_hidden, config);
  read_attention_bias(reader, config);
  refuse_sliding_window(reader, SlidingLayers::all, config);
  config.qk_norm = true;
  config.experts = reader.integer({"num_experts", "num_local_experts"}, kExperts);
  if (config.experts > 0) {
    config.top_k = reader.integer({"num_experts_per_tok"}, {1, kExperts.most});
    config.expert_width = reader.integer({"moe_intermediate_size"}, kWidth);
  }
  config.topk_weights = reader.flag_or("norm_topk_prob", false) ? ModelConfig::TopkWeights::sum_to_one
                                                                : ModelConfig::TopkWeights::as_softmax;
  read_moe_layers(reader, config);
  const bool has_dense_layers = std::ranges::count(config.is_moe_layer, false) > 0;
  if (has_dense_layers) config.dense_width = reader.integer({"intermediate_size"}, kWidth);
}

ParameterTable qwen3_moe_parameters(const ModelConfig& config) {
  return decoder_parameters(config, kQwenNames);
}

}  // namespace moebius::models
