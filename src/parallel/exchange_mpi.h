#pragma once
#include <memory>

#include "cluster/cluster.h"
#include "parallel/exchange.h"

namespace moebius::parallel {

/// The exchange over MPI, for host memory. Collective over all ranks; `cluster` must outlive it. Works on one
/// rank too. One communicator an axis of degree above 1, shared by axes whose groups are the same.
[[nodiscard]] std::unique_ptr<Exchange<Space::host>> make_mpi_exchange(cluster::Cluster& cluster,
                                                                       const Mesh& mesh);

}  // namespace moebius::parallel
