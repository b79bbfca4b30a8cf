#include "models/decoder/config_keys.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"
#include "kernels/attention/attention.h"
#include "models/rope.h"

namespace moebius::models {
namespace {

// Far above every published model: what a typing error or a corrupted file exceeds.
constexpr ConfigReader::Bounds kLayers{1, 10'000};
constexpr ConfigReader::Bounds kHeads{1, 1 << 16};
constexpr ConfigReader::Bounds kWidth{1, 1 << 22};
constexpr ConfigReader::Bounds kLength{1, std::int64_t{1} << 40};
constexpr ConfigReader::Bounds kTokenId{0, std::numeric_limits<std::int32_t>::max()};
constexpr ConfigReader::RealBounds kTheta{1, 1e15};
constexpr ConfigReader::RealBounds kFactor{1, 1e6};
constexpr std::int64_t kQwen3HeadDim = 128;

void read_yarn(const ConfigReader& keys, RopeScaling& scaling) {
  scaling.beta_fast = keys.real_or("beta_fast", 32, {1e-3, 1e6});
  scaling.beta_slow = keys.real_or("beta_slow", 1, {1e-3, 1e6});
  scaling.whole_bounds = keys.flag_or("truncate", true);
  const double mscale = keys.real_or("mscale", 0, {0, 1e3});
  const double mscale_all = keys.real_or("mscale_all_dim", 0, {0, 1e3});
  const bool has_ratio = mscale != 0 && mscale_all != 0;
  const double inferred = has_ratio ? yarn_attention_factor(scaling.factor, mscale) /
                                          yarn_attention_factor(scaling.factor, mscale_all)
                                    : yarn_attention_factor(scaling.factor);
  scaling.attention_factor = keys.real_or("attention_factor", inferred, {1e-3, 1e3});
}

/// `keys`: the object under rope_scaling (until transformers 4) or rope_parameters (from 5).
void read_scaling(const ConfigReader& keys, const ModelConfig& config, RopeScaling& scaling) {
  const std::string key = keys.has("rope_type") ? "rope_type" : "type";
  const std::string kind = keys.word(key).value_or("default");
  if (kind == "default") return;
  scaling.factor = keys.real("factor", kFactor);
  scaling.original_length =
      keys.integer_or("original_max_position_embeddings", config.max_positions, kLength);
  if (kind == "linear") {
    scaling.kind = RopeScaling::Kind::linear;
  } else if (kind == "yarn") {
    scaling.kind = RopeScaling::Kind::yarn;
    read_yarn(keys, scaling);
  } else if (kind == "llama3") {
    scaling.kind = RopeScaling::Kind::llama3;
    scaling.low_frequency_factor = keys.real("low_freq_factor", {1e-3, 1e6});
    scaling.high_frequency_factor = keys.real("high_freq_factor", {1e-3, 1e6});
    if (scaling.high_frequency_factor <= scaling.low_frequency_factor) {
      keys.refuse("high_freq_factor",
                  fmt::format("must be above low_freq_factor = {}", scaling.low_frequency_factor));
    }
  } else {
    keys.refuse(
        key,
        "is a way of stretching rotary positions that is not built; built are default, linear, yarn, llama3");
  }
}

void read_rope(const ConfigReader& reader, ModelConfig& config) {
  config.rope_theta = reader.real_or("rope_theta", 10000, kTheta);
  if (reader.real_or("partial_rotary_factor", 1, {0, 1}) != 1) {
    reader.refuse("partial_rotary_factor", "turns a part of each head only, which is not built");
  }
  if (reader.has("rope_scaling") && reader.has("rope_parameters")) {
    reader.refuse("rope_scaling", "and rope_parameters are two spellings of one setting; keep one");
  }
  if (reader.has("rope_scaling")) read_scaling(reader.part("rope_scaling"), config, config.rope_scaling);
  if (!reader.has("rope_parameters")) return;
  const ConfigReader keys = reader.part("rope_parameters");
  for (const char* type : {"full_attention", "sliding_attention"}) {
    if (keys.has(type))
      keys.refuse(type, "gives a kind of layer its own rotary positions, which is not built");
  }
  if (reader.has("rope_theta") &&
      keys.real_or("rope_theta", config.rope_theta, kTheta) != config.rope_theta) {
    reader.refuse("rope_theta", fmt::format("contradicts rope_parameters.rope_theta = {}",
                                            keys.real("rope_theta", kTheta)));
  }
  config.rope_theta = keys.real_or("rope_theta", config.rope_theta, kTheta);
  if (keys.real_or("partial_rotary_factor", 1, {0, 1}) != 1) {
    keys.refuse("partial_rotary_factor", "turns a part of each head only, which is not built");
  }
  read_scaling(keys, config, config.rope_scaling);
}

void refuse_what_is_not_built(const ConfigReader& reader) {
  const std::string activation = reader.word("hidden_act").value_or("silu");
  if (activation != "silu") reader.refuse("hidden_act", "is not built; built is silu");
  if (reader.real_or("attention_dropout", 0, {0, 1}) != 0) {
    reader.refuse("attention_dropout", "is not built; set it to 0");
  }
  if (reader.has("quantization_config")) {
    reader.refuse("quantization_config",
                  "quantised weights cannot be trained; take the model's unquantised folder");
  }
  const std::vector<std::string> architectures = reader.words("architectures");
  const bool is_causal_lm =
      architectures.empty() || std::ranges::any_of(architectures, [](const std::string& name) {
        return name.ends_with("ForCausalLM");
      });
  if (!is_causal_lm) reader.refuse("architectures", "is no causal language model (...ForCausalLM)");
}

}  // namespace

void read_common_keys(const ConfigReader& reader, ModelConfig& config) {
  refuse_what_is_not_built(reader);
  config.vocab = reader.integer({"vocab_size"}, {});
  config.hidden = reader.integer({"hidden_size"}, kWidth);
  config.layers = reader.integer({"num_hidden_layers"}, kLayers);
  config.heads = reader.integer({"num_attention_heads"}, kHeads);
  config.kv_heads = reader.integer({"num_key_value_heads"}, kHeads);
  config.max_positions = reader.integer_or("max_position_embeddings", 32768, kLength);
  config.rms_epsilon = reader.real_or("rms_norm_eps", 1e-6, {0, 1});
  config.init_deviation = reader.real_or("initializer_range", 0.02, {0, 10});
  config.tied_embeddings = reader.flag_or("tie_word_embeddings", false);
  config.end_tokens = reader.integers("eos_token_id", kTokenId);
  config.dtype = reader.has("torch_dtype") ? reader.word("torch_dtype") : reader.word("dtype");
  read_rope(reader, config);
}

void read_dense_keys(const ConfigReader& reader, ModelConfig& config) {
  config.dense_width = reader.integer({"intermediate_size"}, kWidth);
  config.is_moe_layer.assign(std::size_t(config.layers), false);
}

void read_head_dim(const ConfigReader& reader, HeadDim fallback, ModelConfig& config) {
  if (fallback == HeadDim::of_qwen3 || reader.has("head_dim")) {
    config.head_dim = reader.integer_or("head_dim", kQwen3HeadDim, kHeads);
    return;
  }
  if (config.hidden % config.heads != 0) {
    reader.refuse(
        "hidden_size",
        fmt::format("is not a multiple of num_attention_heads = {}, and there is no head_dim", config.heads));
  }
  config.head_dim = config.hidden / config.heads;
}

void read_attention_bias(const ConfigReader& reader, ModelConfig& config) {
  config.qkv_bias = config.output_bias = reader.flag_or("attention_bias", false);
}

void refuse_sliding_window(const ConfigReader& reader, SlidingLayers layers, const ModelConfig& config) {
  const std::vector<std::string> types = reader.words("layer_types");
  if (!types.empty() && std::int64_t(types.size()) != config.layers) {
    reader.refuse("layer_types",
                  fmt::format("has {} entries for num_hidden_layers = {}", types.size(), config.layers));
  }
  for (const std::string& type : types) {
    if (type == "full_attention" || type == "sliding_attention") continue;
    reader.refuse("layer_types",
                  fmt::format("contains \"{}\", which is not built; built is full_attention", type));
  }
  if (!reader.flag_or("use_sliding_window", false)) return;
  const std::int64_t first = reader.integer_or("max_window_layers", 28, {0, kLayers.most});
  const bool some_slide =
      layers == SlidingLayers::all ||
      (types.empty() ? first < config.layers : std::ranges::count(types, "sliding_attention") > 0);
  if (some_slide) {
    reader.refuse("use_sliding_window",
                  "attention over a sliding window is not built; the model needs it in some layers");
  }
}

void check_sizes(const ConfigReader& reader, const ModelConfig& config) {
  if (config.heads % config.kv_heads != 0) {
    reader.refuse("num_attention_heads",
                  fmt::format("is not a multiple of num_key_value_heads = {}", config.kv_heads));
  }
  if (config.head_dim % 2 != 0 || config.head_dim > kernels::kLargestHeadDim) {
    reader.refuse(reader.has("head_dim") ? "head_dim" : "hidden_size",
                  fmt::format("gives heads of {} entries; built are even numbers up to {}", config.head_dim,
                              kernels::kLargestHeadDim));
  }
  if (config.top_k > config.experts) {
    reader.refuse("num_experts_per_tok", fmt::format("is more than the {} experts", config.experts));
  }
}

}  // namespace moebius::models
