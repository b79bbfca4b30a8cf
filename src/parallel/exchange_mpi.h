#pragma once
#include <cstdint>
#include <memory>

#include "cluster/cluster.h"
#include "parallel/exchange.h"

namespace moebius::parallel {

/// Where messages are cut; only tests have a reason to change it.
struct MpiLimits {
  std::int64_t message_bytes = std::int64_t{1} << 30;  // of one MPI message; MPI counts in int
  std::int64_t segment_bytes = std::int64_t{1} << 23;  // of a sum; the scratch memory that sums take
  std::int64_t small_bytes = 4096;                     // a sum up to this goes in one round instead of two
};

/// The exchange over MPI, for host memory. Collective over all ranks; `cluster` must outlive it. Works on one
/// rank too. One communicator an axis, shared by axes whose groups are the same.
[[nodiscard]] std::unique_ptr<Exchange<Space::host>> make_mpi_exchange(cluster::Cluster& cluster,
                                                                       const Mesh& mesh,
                                                                       const MpiLimits& limits = {});

}  // namespace moebius::parallel
