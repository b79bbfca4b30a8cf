#include "tests/fuzz/mesh_list.h"

#include <array>
#include <fmt/format.h>

namespace moebius::fuzz {
namespace {

/// Every axis up to 8 is possible, and every second layer dense.
constexpr const char* kConfig = R"({
  "model_type": "qwen3_moe", "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 8,
  "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 8, "intermediate_size": 32,
  "moe_intermediate_size": 8, "num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": true,
  "decoder_sparse_step": 1, "mlp_only_layers": [1, 3, 5, 7], "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
  "max_position_embeddings": 128, "initializer_range": 0.08, "eos_token_id": 1})";

/// 48 rows of 2 to 30 tokens.
std::string rows() {
  std::string text;
  for (std::int64_t i = 0; i < 48; ++i) {
    Row row;
    for (std::int64_t t = 0; t < 2 + i * 7 % 29; ++t) {
      row.ids.push_back((i * 11 + t * (1 + i % 5)) % 96);
      row.labels.push_back((i + t) % 6 == 0 ? -100 : row.ids.back());
      row.scale.push_back((i + t) % 4 == 0 ? 0.25 : 1.0);
    }
    text += text_of(row);
  }
  return text;
}

/// What a stage does with its micro batches, as settings of [parallel].
struct Turns {
  const char *name, *schedule, *chunks;
};
constexpr std::array kTurns{Turns{"", "1f1b", "1"}, Turns{"_interleaved", "interleaved", "2"},
                            Turns{"_zerobubble", "zero-bubble", "1"}};

struct Axes {
  std::int64_t tensor = 1, context = 1, pipeline = 1, expert = 1, expert_tensor = 1;
};

FuzzJob job_on(std::int64_t ranks, const Axes& axes, const Turns& turns) {
  FuzzJob job = plain_job();
  job.ranks = ranks;
  job.config = kConfig;
  job.rows = rows();
  job.settings["job"]["seed"] = "7";
  job.settings["data"] = {{"max_length", "32"}};
  job.settings["train"] = {{"global_batch_size", "16"}, {"iterations", "10"}};
  job.settings["moe"] = {{"aux_loss_coeff", "0.01"}, {"z_loss_coeff", "0.001"}};
  job.name = fmt::format("n{}", ranks);
  auto& parallel = job.settings["parallel"];
  const auto set = [&](const char* key, const char* letter, std::int64_t degree) {
    if (degree == 1) return;
    parallel[key] = std::to_string(degree);
    job.name += fmt::format("_{}{}", letter, degree);
  };
  set("tensor", "t", axes.tensor);
  set("context", "c", axes.context);
  set("pipeline", "p", axes.pipeline);
  set("expert", "e", axes.expert);
  set("expert_tensor", "w", axes.expert_tensor);
  if (axes.pipeline > 1) {
    parallel["schedule"] = fmt::format("\"{}\"", turns.schedule);
    parallel["virtual_pipeline"] = turns.chunks;
    job.name += turns.name;
  }
  return job;
}

/// Powers of two from 1 to `most`.
std::vector<std::int64_t> degrees_up_to(std::int64_t most) {
  std::vector<std::int64_t> degrees;
  for (std::int64_t degree = 1; degree <= most; degree *= 2) degrees.push_back(degree);
  return degrees;
}

/// Every way to lay the axes over the ranks that the products allow.
std::vector<Axes> all_axes(std::int64_t ranks) {
  std::vector<Axes> all;
  for (const std::int64_t pipeline : degrees_up_to(ranks)) {
    const std::int64_t stage = ranks / pipeline;
    for (const std::int64_t tensor : degrees_up_to(stage)) {
      for (const std::int64_t context : degrees_up_to(stage / tensor)) {
        for (const std::int64_t expert : degrees_up_to(stage)) {
          for (const std::int64_t width : degrees_up_to(stage / expert))
            all.push_back({tensor, context, pipeline, expert, width});
        }
      }
    }
  }
  return all;
}

}  // namespace

std::vector<FuzzJob> jobs_on_all_meshes(std::int64_t ranks) {
  std::vector<FuzzJob> jobs;
  std::size_t next = 0;  // of kTurns
  for (const Axes& axes : all_axes(ranks)) {
    for (std::size_t attempt = 0; attempt < kTurns.size(); ++attempt) {
      FuzzJob job = job_on(ranks, axes, kTurns[(next + attempt) % kTurns.size()]);
      if (refusal_of(job)) continue;
      jobs.push_back(std::move(job));
      if (axes.pipeline > 1) next = (next + attempt + 1) % kTurns.size();
      break;
    }
  }
  return jobs;
}

}  // namespace moebius::fuzz
