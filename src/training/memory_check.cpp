#include "training/memory_check.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"
#include "training/model_settings.h"

namespace moebius::training {
namespace {

/// Tokens of the longest micro batch that the data can make.
std::int64_t most_tokens(const job::Job& job, const Datasets& datasets) {
  std::int64_t longest = 0;
  for (const std::int64_t sample : datasets.train.samples)
    longest = std::max(longest, datasets.samples->length(sample));
  return job.train.micro_batch_size * (job.data.packing ? job.data.max_length : longest);
}

template <Platform P>
models::MemoryFormat format_of(const job::Job& job) {
  models::MemoryFormat format = models::memory_format<P>();
  format.moment = job.optimizer.moments == job::StateType::bf16 ? 2 : 4;
  format.truth =
      std::is_same_v<typename P::Storage, float> ? models::Truth::weights : truth_of(job.optimizer.master);
  format.recompute = recompute_of(job.train.recompute);
  format.group_layers = job.train.recompute_layers;
  return format;
}

std::string text_of(const models::ModelMemory& memory) {
  std::string text;
  const auto add = [&](const char* name, std::int64_t bytes) {
    if (bytes > 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, bytes_text(bytes));
  };
  add("weights", memory.weights);
  add("gradients", memory.gradients);
  add("moments", memory.moments);
  add("master", memory.truth);
  add("activations", memory.activations + memory.lists);
  add("made again", memory.remade);
  add("workspace", memory.workspace);
  add("tables", memory.tables);
  add("scratch", memory.scratch);
  return text;
}

}  // namespace

template <Platform P>
models::ModelMemory check_memory(const MemoryQuestion& question, const Hardware<P::kSpace>& hardware,
                                 cluster::Cluster& cluster, const Log& log) {
  const std::int64_t tokens = most_tokens(question.job, question.datasets);
  const models::ModelMemory needed =
      models::training_memory(question.config, question.mesh, {.tokens = tokens, .targets = tokens},
                              question.job.data.max_length, format_of<P>(question.job));
  const std::int64_t libraries = hardware.library_bytes(), total = needed.total() + libraries;
  log.info("memory: {} a rank for micro batches of {} tokens: {}{}", bytes_text(total), tokens,
           text_of(needed), libraries == 0 ? "" : fmt::format(", libraries {}", bytes_text(libraries)));
  cluster.together("check the memory", [&] {
    const std::int64_t ranks = hardware.sharing_ranks(cluster), available = hardware.memory_bytes();
    if (total * ranks <= available) return;
    throw ClusterError(fmt::format(
        "{}: {} ranks on {} need {} each, {} in all, but there are {}; use more nodes, raise parallel.tensor "
        "or "
        "parallel.expert, set train.recompute, or lower data.max_length or train.micro_batch_size",
        cluster.node().host, ranks, P::kSpace == Space::host ? "the node" : "a GPU", bytes_text(total),
        bytes_text(total * ranks), bytes_text(available)));
  });
  return needed;
}

#define INSTANTIATE(P)                                                                            \
  template models::ModelMemory check_memory<P>(const MemoryQuestion&, const Hardware<P::kSpace>&, \
                                               cluster::Cluster&, const Log&);
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::training
