#include "models/qwen3/qwen3.h"

#include "models/decoder/config_keys.h"
#include "models/decoder/parameters.h"

namespace moebius::models {

void read_qwen3(const ConfigReader& reader, ModelConfig& config) {
  read_dense_keys(reader, config);
  read_head_dim(reader, HeadDim::of_qwen3, config);
  read_attention_bias(reader, config);
  refuse_sliding_window(reader, SlidingLayers::from_max_window_layers, config);
  config.qk_norm = true;
}

ParameterTable qwen3_parameters(const ModelConfig& config) {
  return decoder_parameters(config, kQwenNames);
}

}  // namespace moebius::models
