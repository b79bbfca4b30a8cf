#pragma once
#include "base/log.h"
#include "cluster/cluster.h"
#include "job/job.h"
#include "models/config.h"
#include "plan/need.h"
#include "training/datasets.h"
#include "training/hardware.h"

namespace moebius::training {

/// What decides how much memory a training needs.
struct MemoryQuestion {
  const job::Job& job;
  const models::ModelConfig& config;
  const cluster::Mesh& mesh;
  const Datasets& datasets;
};

template <Platform P>
[[nodiscard]] plan::Machine machine_of(const Hardware<P::kSpace>& hardware, const cluster::Cluster& cluster);

/// Says what the training will need on this rank, by purpose, and refuses a job that cannot fit: the ranks
/// that share a node's memory, or a GPU, together must need less than it has. Counted for the longest micro
/// batch with even routing. Collective; throws AgreedError (ClusterError's code), which says what would fit.
template <Platform P>
[[nodiscard]] plan::Need check_memory(const MemoryQuestion& question, const Hardware<P::kSpace>& hardware,
                                      cluster::Cluster& cluster, const Log& log);

}  // namespace moebius::training
