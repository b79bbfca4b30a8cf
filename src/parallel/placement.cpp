#include "parallel/placement.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <set>

#include "base/error.h"
#include "base/text.h"

namespace moebius::parallel {
namespace {

using cluster::Node;
using Seen = std::vector<std::vector<SeenGpu>>;  // by rank

void refuse_ranks_without(const std::vector<Node>& nodes, const Seen& seen) {
  for (const Node& node : nodes) {
    const auto without = std::find_if(node.ranks.begin(), node.ranks.end(),
                                      [&](std::int64_t rank) { return seen[std::size_t(rank)].empty(); });
    if (without == node.ranks.end()) continue;
    throw ClusterError(
        fmt::format("node {}: rank {} sees no GPU, other ranks of the job do; give every rank one "
                    "(CUDA_VISIBLE_DEVICES, srun --gpus-per-node), or none",
                    node.host, *without));
  }
}

}  // namespace

std::optional<DevicePlacement> place_ranks(const std::vector<Node>& nodes, const Seen& seen,
                                           std::int64_t rank) {
  if (std::all_of(seen.begin(), seen.end(), [](const auto& gpus) { return gpus.empty(); }))
    return std::nullopt;
  refuse_ranks_without(nodes, seen);
  DevicePlacement placement{.ranks = std::int64_t(seen.size()), .gpus = 0, .most_ranks = 0};
  std::set<std::string> names;
  for (const Node& node : nodes) {
    std::map<std::string, std::int64_t> ranks_on;  // by bus id
    for (const std::int64_t one : node.ranks) {
      const auto& gpus = seen[std::size_t(one)];
      const auto chosen = std::min_element(gpus.begin(), gpus.end(), [&](const auto& a, const auto& b) {
        return ranks_on[a.bus_id] < ranks_on[b.bus_id];
      });
      placement.most_ranks = std::max(placement.most_ranks, ++ranks_on[chosen->bus_id]);
      names.insert(chosen->name);
      if (one == rank) placement.index = int(chosen - gpus.begin());
    }
    placement.gpus +=
        std::count_if(ranks_on.begin(), ranks_on.end(), [](const auto& gpu) { return gpu.second > 0; });
  }
  placement.names = join(std::vector<std::string>(names.begin(), names.end()));
  return placement;
}

}  // namespace moebius::parallel
