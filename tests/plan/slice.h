#pragma once
#include "plan/plan.h"
#include "tests/support/files.h"
#include "tests/support/repository.h"

namespace moebius::test {

/// Qwen3-30B-A3B at its own sizes, with some of its 48 layers: jobs/bench-qwen3-30b-a3b-slice.
inline models::ModelConfig slice_of_30b(std::int64_t layers) {
  const auto file = repository() / "jobs/bench-qwen3-30b-a3b-slice/config.json";
  models::ModelConfig config = models::read_config(slurp(file), file.string());
  config.layers = layers;
  config.is_moe_layer.assign(std::size_t(layers), true);
  return config;
}

/// Four packs of 4096 tokens a micro batch.
inline job::Job slice_job() {
  job::Job job;
  job.file = "slice.toml";
  job.data.max_length = 4096;
  job.train.micro_batch_size = job.train.global_batch_size = 4;
  return job;
}

/// 10 bytes a parameter.
inline job::Job small_slice_job() {
  job::Job job = slice_job();
  job.optimizer.master = job::Master::remainder16;
  job.optimizer.moments = job.optimizer.gradients = job::StateType::bf16;
  return job;
}

inline plan::Machine gpu(std::int64_t gib, plan::Precision precision = plan::Precision::bf16) {
  return {.space = Space::device, .precision = precision, .memory = gib << 30, .name = "the GPU"};
}
inline plan::Machine node(std::int64_t gib, std::int64_t ranks) {
  return {.memory = gib << 30, .ranks = ranks, .name = "the node"};
}

}  // namespace moebius::test
