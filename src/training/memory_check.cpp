#include "training/memory_check.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/process.h"
#include "base/text.h"

namespace moebius::training {
namespace {

/// Tokens of the longest micro batch that the data can make.
std::int64_t most_tokens(const job::Job& job, const Datasets& datasets) {
  std::int64_t longest = 0;
  for (const std::int64_t sample : datasets.train.samples)
    longest = std::max(longest, datasets.samples->length(sample));
  return job.train.micro_batch_size * (job.data.packing ? job.data.max_length : longest);
}

}  // namespace

void check_memory(const MemoryQuestion& question, cluster::Cluster& cluster, const Log& log) {
  const std::int64_t tokens = most_tokens(question.job, question.datasets);
  const models::ModelMemory needed = models::training_memory(
      question.config, question.mesh, {.tokens = tokens, .targets = tokens}, question.job.data.max_length);
  log.info(
      "memory: {} a rank for micro batches of {} tokens: weights {}, gradients {}, moments {}, "
      "activations {}, workspace {}, tables {}",
      bytes_text(needed.total()), tokens, bytes_text(needed.weights), bytes_text(needed.gradients),
      bytes_text(needed.moments), bytes_text(needed.activations), bytes_text(needed.workspace),
      bytes_text(needed.tables));
  cluster.together("check the memory", [&] {
    const auto ranks = std::int64_t(cluster.node().ranks.size());
    const std::int64_t available = machine_memory_bytes();
    if (needed.total() * ranks <= available) return;
    throw ClusterError(fmt::format(
        "{}: {} ranks need {} each, {} in all, but the node has {}; use more nodes, raise parallel.tensor or "
        "parallel.expert, or lower data.max_length or train.micro_batch_size",
        cluster.node().host, ranks, bytes_text(needed.total()), bytes_text(needed.total() * ranks),
        bytes_text(available)));
  });
}

}  // namespace moebius::training
