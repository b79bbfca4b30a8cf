#include "models/qwen2/qwen2.h"

#include "models/decoder/config_keys.h"
#include "models/decoder/parameters.h"

namespace moebius::models {

void read_qwen2(const ConfigReader& reader, ModelConfig& config) {
  read_dense_keys(reader, config);
  read_head_dim(reader, HeadDim::of_hidden, config);
  refuse_sliding_window(reader, SlidingLayers::from_max_window_layers, config);
  config.qkv_bias = true;
}

ParameterTable qwen2_parameters(const ModelConfig& config) {
  return decoder_parameters(config, kQwenNames);
}

}  // namespace moebius::models
