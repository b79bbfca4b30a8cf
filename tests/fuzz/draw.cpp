#include "tests/fuzz/draw.h"

#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <random>

namespace moebius::fuzz {
namespace {

using Json = nlohmann::json;

/// Numbers that are the same on every machine: the standard fixes the engine, not the distributions.
class Dice {
 public:
  explicit Dice(std::int64_t seed) : engine_(std::uint64_t(seed)) {}

  [[nodiscard]] std::int64_t below(std::int64_t count) {
    return std::int64_t(engine_() % std::uint64_t(count));
  }
  [[nodiscard]] std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + below(high - low + 1);
  }
  [[nodiscard]] bool one_in(std::int64_t count) { return below(count) == 0; }
  /// One of them; a value that stands there twice comes twice as often.
  template <class T>
  [[nodiscard]] T any(std::initializer_list<T> values) {
    return values.begin()[below(std::int64_t(values.size()))];
  }

 private:
  std::mt19937_64 engine_;
};

Json draw_experts(std::int64_t layers, Dice& dice) {
  const std::int64_t experts = dice.any<std::int64_t>({2, 3, 4, 4, 6, 8, 8, 8, 16});
  Json keys{{"num_experts", experts},
            {"num_experts_per_tok", dice.between(1, std::min<std::int64_t>(experts, 4))},
            {"moe_intermediate_size", dice.any({4, 8, 8, 12, 16})},
            {"norm_topk_prob", dice.one_in(2)},
            {"decoder_sparse_step", dice.any({1, 1, 1, 2, 3})},
            {"mlp_only_layers", Json::array()}};
  if (dice.one_in(3)) keys["mlp_only_layers"].push_back(dice.below(layers));
  return keys;
}

Json draw_model(Dice& dice) {
  const auto family = dice.any<const char*>({"qwen3_moe", "qwen3_moe", "qwen3_moe", "qwen3", "qwen2"});
  const std::int64_t layers = dice.any<std::int64_t>({1, 2, 3, 4, 4, 5, 6, 8, 9, 12});
  const std::int64_t kv_heads = dice.any<std::int64_t>({1, 2, 3, 4, 4, 6, 8});
  Json config{{"model_type", family},
              {"vocab_size", dice.between(40, 110)},
              {"hidden_size", dice.any({8, 16, 24, 32})},
              {"num_hidden_layers", layers},
              {"num_attention_heads", kv_heads * dice.any<std::int64_t>({1, 1, 2, 3})},
              {"num_key_value_heads", kv_heads},
              {"head_dim", dice.any({4, 4, 8, 16})},
              {"intermediate_size", dice.any({8, 12, 24, 32, 48})},
              {"max_position_embeddings", 128},
              {"rope_theta", 10000.0},
              {"rms_norm_eps", 1e-6},
              {"tie_word_embeddings", dice.one_in(2)},
              {"attention_bias", dice.one_in(3)},
              {"initializer_range", 0.05 + 0.01 * double(dice.below(10))},
              {"eos_token_id", 1}};
  if (std::string(family) == "qwen3_moe") config.update(draw_experts(layers, dice));
  return config;
}

/// Samples from two tokens on: shorter than the chunks of the context ranks, or some that fill the length.
std::string draw_rows(std::int64_t max_length, std::int64_t vocab, Dice& dice) {
  const auto longest =
      dice.any<std::int64_t>({std::min<std::int64_t>(max_length, 5), max_length, max_length});
  const std::int64_t count = dice.between(20, 60);
  const bool masks = dice.one_in(2), weighs = dice.one_in(3);
  std::string text;
  for (std::int64_t i = 0; i < count; ++i) {
    Row row;
    const std::int64_t length =
        dice.one_in(2) ? dice.between(2, longest) : std::min(longest, dice.between(2, 9));
    for (std::int64_t t = 0; t < length; ++t) {
      row.ids.push_back(dice.below(vocab));
      row.labels.push_back(masks && dice.one_in(4) ? -100 : row.ids.back());
      row.scale.push_back(weighs ? dice.any({0.0, 0.25, 1.0, 1.0}) : 1.0);
    }
    text += text_of(row);
  }
  return text;
}

/// Pairs in place of rows: two answers behind a prompt that may be a token.
std::string draw_pairs(std::int64_t max_length, std::int64_t vocab, Dice& dice) {
  std::string text;
  for (std::int64_t i = dice.between(20, 40); i > 0; --i) {
    const std::int64_t prompt = dice.between(1, std::max<std::int64_t>(max_length / 2, 1));
    std::array<Row, 2> sides;
    for (Row& side : sides) {
      for (std::int64_t t = dice.between(prompt, max_length) - 1; t >= 0; --t) {
        side.ids.push_back(dice.below(vocab));
        side.labels.push_back(std::int64_t(side.ids.size()) <= prompt ? -100 : side.ids.back());
        side.scale.push_back(1);
      }
    }
    const auto line = [&](const Row& side) {
      const std::string row = text_of(side);
      return row.substr(0, row.find('\n'));
    };
    text += fmt::format("{{\"chosen\":{},\"rejected\":{}}}\n", line(sides[0]), line(sides[1]));
  }
  return text;
}

void draw_preference(FuzzJob& job, Dice& dice) {
  const auto loss = dice.any<const char*>({"sigmoid", "sigmoid", "hinge", "ipo"});
  auto& objective = job.settings["objective"];
  objective = {{"kind", "\"dpo\""},
               {"loss", fmt::format("\"{}\"", loss)},
               {"beta", dice.any<const char*>({"0.05", "0.1", "0.5"})},
               {"rpo_alpha", dice.any<const char*>({"0.0", "0.0", "0.3", "1.0"})}};
  if (std::string(loss) == "sigmoid" && dice.one_in(3)) objective["label_smoothing"] = "0.2";
  if (dice.one_in(3)) objective["reference_cache"] = "true";
}

void draw_adapter(FuzzJob& job, bool has_experts, Dice& dice) {
  auto& lora = job.settings["lora"];
  lora = {
      {"rank", dice.any<const char*>({"1", "2", "3", "8"})},
      {"alpha", dice.any<const char*>({"4", "16"})},
      {"rslora", dice.one_in(2) ? "true" : "false"},
      {"dropout", dice.any<const char*>({"0.0", "0.0", "0.1"})},
      {"targets", dice.any<const char*>({R"(["all-linear"])", R"(["all-linear"])", R"(["q_proj", "o_proj"])",
                                         R"(["v_proj", "down_proj"])", R"(["*_proj"])"})}};
  if (has_experts && dice.one_in(3)) lora["targets"] = R"(["all-linear", "all-router"])";
  // b starts with zeros, and the gradients of a are as small as b: both move further than full weights.
  job.settings["optimizer"]["lr"] = "1e-2";
}

/// The primes of `product`, each given to one of as many factors.
template <std::size_t kCount>
std::array<std::int64_t, kCount> draw_factors(std::int64_t product, Dice& dice) {
  std::array<std::int64_t, kCount> factors{};
  factors.fill(1);
  for (std::int64_t prime = 2; product > 1; ++prime) {
    for (; product % prime == 0; product /= prime) factors[std::size_t(dice.below(kCount))] *= prime;
  }
  return factors;
}

/// [parallel], and the data ranks.
std::int64_t draw_mesh(FuzzJob& job, bool has_experts, Dice& dice) {
  const auto [tensor, context, pipeline, data] = draw_factors<4>(job.ranks, dice);
  auto& parallel = job.settings["parallel"];
  const auto set = [&](const char* key, std::int64_t degree) {
    if (degree > 1) parallel[key] = std::to_string(degree);
  };
  set("tensor", tensor);
  set("context", context);
  set("pipeline", pipeline);
  if (has_experts) {
    const auto [expert, width, replicas] = draw_factors<3>(tensor * context * data, dice);
    set("expert", expert);
    set("expert_tensor", width);
    if (expert > 1 && dice.one_in(2)) job.settings["moe"]["overlap"] = "\"halves\"";
  }
  if (pipeline > 1) {
    const bool in_turns = dice.one_in(2);
    set("virtual_pipeline", in_turns ? dice.between(2, 3) : 1);
    parallel["schedule"] = in_turns ? dice.any<const char*>({"\"auto\"", "\"interleaved\""})
                                    : dice.any<const char*>({"\"auto\"", "\"1f1b\"", "\"zero-bubble\""});
  }
  return data;
}

void draw_training(FuzzJob& job, std::int64_t data_ranks, Dice& dice) {
  const std::int64_t micro = dice.any<std::int64_t>({1, 1, 2, 3});
  const std::int64_t micro_batches = dice.any<std::int64_t>({1, 2, 3, 4, 4, 6, 8});
  auto& train = job.settings["train"];
  train["micro_batch_size"] = std::to_string(micro);
  train["global_batch_size"] = std::to_string(micro * micro_batches * data_ranks);
  train["iterations"] = std::to_string(dice.between(2, 5));
  const auto recompute = dice.any<const char*>({"none", "none", "selective", "full"});
  train["recompute"] = fmt::format("\"{}\"", recompute);
  if (std::string(recompute) == "full") train["recompute_layers"] = std::to_string(dice.between(1, 3));
  job.settings["optimizer"]["clip_norm"] = dice.any<const char*>({"0.1", "1.0", "100.0"});
}

FuzzJob draw_once(std::int64_t ranks, Dice& dice) {
  FuzzJob job = plain_job();
  job.ranks = ranks;
  const Json config = draw_model(dice);
  job.config = config.dump();
  const bool has_experts = config.contains("num_experts");
  const std::int64_t max_length = dice.any<std::int64_t>({6, 12, 24, 40, 64});
  job.rows = draw_rows(max_length, config["vocab_size"], dice);
  job.settings["data"] = {{"max_length", std::to_string(max_length)},
                          {"packing", dice.one_in(3) ? "false" : "true"},
                          {"shuffle", dice.one_in(3) ? "false" : "true"}};
  job.settings["job"]["seed"] = std::to_string(dice.below(1000));
  if (has_experts) {
    job.settings["moe"] = {{"aux_loss_coeff", dice.any<const char*>({"0.0", "0.01", "0.1"})},
                           {"z_loss_coeff", dice.any<const char*>({"0.0", "0.001", "0.01"})}};
  }
  draw_training(job, draw_mesh(job, has_experts, dice), dice);
  if (dice.one_in(4)) {
    job.rows = draw_pairs(max_length, config["vocab_size"], dice);
    draw_preference(job, dice);
  }
  if (dice.one_in(4)) draw_adapter(job, has_experts, dice);
  return job;
}

}  // namespace

FuzzJob draw(std::int64_t seed, std::int64_t most_ranks) {
  Dice dice(seed);
  std::int64_t ranks = most_ranks + 1;
  while (ranks > most_ranks)
    ranks = dice.any<std::int64_t>({1, 2, 2, 2, 3, 4, 4, 4, 4, 4, 4, 6, 8, 8, 8, 8, 16});
  FuzzJob job = draw_once(ranks, dice);
  while (refusal_of(job)) job = draw_once(ranks, dice);
  job.name = fmt::format("seed_{:06}", seed);
  return job;
}

FuzzJob with_other_rounding(const FuzzJob& job, int attempt) {
  FuzzJob alone = on_one_rank(job);
  Json config = Json::parse(job.config);
  // From one to two units in the last place of fp32.
  config["initializer_range"] = config["initializer_range"].get<double>() * (1 + 1.5e-7 * (attempt + 1));
  alone.config = config.dump();
  alone.name += fmt::format("_rounding_{}", attempt + 1);
  return alone;
}

}  // namespace moebius::fuzz
