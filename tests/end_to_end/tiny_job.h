#pragma once
#include <fmt/format.h>
#include <map>
#include <string>

#include "tests/end_to_end/json_rows.h"

namespace moebius::test {

/// A tiny model and its data, made by the test itself: no tokenizer, random weights, pre-tokenised rows.
class TinyJob {
 public:
  explicit TinyJob(const TemporaryFolder& folder) : folder_(folder) {
    spill(folder / "config.json", kConfig);
    spill(folder / "rows.jsonl", rows());
  }

  /// Settings by section and key, as they stand in the file; changed freely by a test.
  std::map<std::string, std::map<std::string, std::string>> settings{
      {"job", {{"seed", "7"}}},
      {"model", {{"init", "\"random\""}}},
      {"data", {{"max_length", "64"}, {"packing", "true"}}},
      {"train", {{"global_batch_size", "8"}, {"iterations", "20"}}},
      {"optimizer", {{"lr", "3e-3"}, {"warmup_fraction", "0.1"}}},
      {"moe", {{"aux_loss_coeff", "0.01"}, {"z_loss_coeff", "0.001"}}},
      {"checkpoint", {{"interval", "5"}, {"keep", "3"}}},
      {"log", {{"tensorboard", "false"}}},
  };

  /// Changes keys of the model's config.json, for the jobs written from here on.
  void reshape(const Json& keys) {
    Json config = Json::parse(slurp(folder_ / "config.json"));
    config.update(keys);
    spill(folder_ / "config.json", config.dump());
  }
  [[nodiscard]] std::string output(const std::string& name) const { return (folder_ / name).string(); }
  /// Writes the job file of a run called `name` and returns its path.
  [[nodiscard]] std::string file(const std::string& name) {
    auto all = settings;
    all["job"]["output"] = quote(output(name));
    if (!all["model"].contains("path")) all["model"]["config"] = quote((folder_ / "config.json").string());
    if (!all["data"].contains("train"))
      all["data"]["train"] = fmt::format("[{}]", quote((folder_ / "rows.jsonl").string()));
    std::string text;
    for (const auto& [section, keys] : all) {
      text += fmt::format("[{}]\n", section);
      for (const auto& [key, value] : keys) text += key + " = " + value + "\n";
    }
    const std::string path = (folder_ / (name + ".toml")).string();
    spill(path, text);
    return path;
  }
  [[nodiscard]] std::vector<Json> metrics(const std::string& name) const {
    return rows_of(slurp(output(name) + "/metrics.jsonl"));
  }

 private:
  static std::string quote(const std::string& text) { return fmt::format("\"{}\"", text); }

  /// 64 rows of 9 to 40 tokens that follow a rule a model can learn: x, then x + step again and again.
  static std::string rows() {
    std::string text;
    for (int row = 0; row < 64; ++row) {
      std::string ids;
      const int length = 9 + row * 7 % 32, step = 1 + row % 5;
      for (int i = 0; i < length; ++i)
        ids += fmt::format("{}{}", i == 0 ? "" : ",", (row * 11 + i * step) % 96);
      text += fmt::format("{{\"input_ids\":[{}],\"labels\":[{}]}}\n", ids, ids);
    }
    return text;
  }

  static constexpr const char* kConfig = R"({
  "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "vocab_size": 96, "hidden_size": 32,
  "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 8, "intermediate_size": 64,
  "moe_intermediate_size": 16, "num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": true,
  "decoder_sparse_step": 1, "mlp_only_layers": [1], "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
  "max_position_embeddings": 128, "attention_bias": false, "tie_word_embeddings": false, "torch_dtype": "float32",
  "initializer_range": 0.05, "eos_token_id": 1})";

  const TemporaryFolder& folder_;
};

}  // namespace moebius::test
