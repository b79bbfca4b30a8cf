#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cluster/cluster.h"

namespace moebius::parallel {

/// A GPU as one rank sees it.
struct SeenGpu {
  std::string bus_id, name;
  friend bool operator==(const SeenGpu&, const SeenGpu&) = default;
};

/// Which GPU a rank uses, and how the whole job lies on its GPUs.
struct DevicePlacement {
  int index = 0;                // among the GPUs that this process sees
  std::int64_t ranks = 1;       // of the job, as what follows
  std::int64_t gpus = 1;        // in use
  std::int64_t most_ranks = 1;  // that share one GPU
  std::string names;            // of the GPUs: "NVIDIA H200"
};

/// The ranks of a node take its GPUs in turn: each the one that the fewest ranks before it have, the first
/// of these as it sees them. With all GPUs visible to all ranks that is local rank modulo GPUs; it also holds
/// where a launcher shows each rank its own. Nothing where no rank sees a GPU. Throws ClusterError where
/// some do and some do not, naming the first node without. `seen` is by rank.
[[nodiscard]] std::optional<DevicePlacement> place_ranks(const std::vector<cluster::Node>& nodes,
                                                         const std::vector<std::vector<SeenGpu>>& seen,
                                                         std::int64_t rank);

}  // namespace moebius::parallel
