#include "training/memory_check.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/process.h"
#include "base/text.h"
#include "plan/plan.h"

namespace moebius::training {
namespace {

/// Tokens of the longest pack that the data can make.
std::int64_t longest_pack(const job::Job& job, const Datasets& datasets) {
  std::int64_t longest = job.data.packing ? job.data.max_length : 0;
  for (const std::int64_t sample : datasets.train.samples)
    longest = std::max(longest, datasets.samples->length(sample));
  return longest;
}

}  // namespace

template <Platform P>
plan::Machine machine_of(const Hardware<P::kSpace>& hardware, const cluster::Cluster& cluster) {
  return {
      .space = P::kSpace,
      .precision = std::is_same_v<typename P::Storage, float> ? plan::Precision::fp32 : plan::Precision::bf16,
      .memory = hardware.memory_bytes(),
      .ranks = hardware.sharing_ranks(cluster),
      .name = P::kSpace == Space::host ? "the node" : "the GPU",
      .program = resident_bytes_at_start()};
}

template <Platform P>
plan::Need check_memory(const MemoryQuestion& question, const Hardware<P::kSpace>& hardware,
                        cluster::Cluster& cluster, const Log& log) {
  const plan::Machine machine = machine_of<P>(hardware, cluster);
  const plan::Question asked{.job = question.job,
                             .config = question.config,
                             .ranks = cluster.size(),
                             .pack_tokens = longest_pack(question.job, question.datasets),
                             .machine = machine};
  const plan::Need need = plan::need_on(question.mesh, asked);
  log.info("memory: {} a rank for micro batches of {} tokens: {}", bytes_text(need.total()),
           asked.micro_batch_tokens(), plan::parts_text(need));
  cluster.together("check the memory", [&] {
    if (plan::fits(need, machine)) return;
    throw ClusterError(
        fmt::format("{}: {}", cluster.node().host, plan::refusal_text(machine, need, plan::advise(asked))));
  });
  return need;
}

#define INSTANTIATE(P)                                                                                      \
  template plan::Machine machine_of<P>(const Hardware<P::kSpace>&, const cluster::Cluster&);                \
  template plan::Need check_memory<P>(const MemoryQuestion&, const Hardware<P::kSpace>&, cluster::Cluster&, \
                                      const Log&);
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::training
