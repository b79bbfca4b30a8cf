#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cluster/cluster.h"
#include "parallel/exchange.h"

namespace moebius::parallel {

/// What NCCL and CUDA must find in the environment, by name, unless the user has set it otherwise. They read
/// it once, at their first call, so commands/ sets it before anything else is started.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> nccl_environment();

/// The exchange over NCCL, for ranks with a GPU each, which is the current one already. Collective over all
/// ranks; `cluster` must outlive it. One communicator an axis, shared by axes whose groups are the same;
/// counts go over MPI. Calls only queue, all on one stream; `wait` ends the job where a rank died or NCCL
/// found an error, naming the last collective that was queued.
[[nodiscard]] std::unique_ptr<Exchange<Space::device>> make_nccl_exchange(cluster::Cluster& cluster,
                                                                          const Mesh& mesh);

}  // namespace moebius::parallel
