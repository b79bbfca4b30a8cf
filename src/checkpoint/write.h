#pragma once
#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/contents.h"
#include "checkpoint/slabs.h"
#include "cluster/cluster.h"
#include "models/shard_transfer.h"
#include "tensor/dtype.h"

namespace moebius::checkpoint {

/// Fills `elements` with those of `slab` of parameter `parameter` (an index into the table), packed and
/// row-major, in the type of the parameter's dataset. May throw: then nothing is published.
using SlabSource =
    std::function<void(std::size_t parameter, const Slab& slab, std::span<std::byte> elements)>;

inline const std::string kParameters = "parameters";
inline const std::string kMaster = "optimizer/master";
inline const std::string kExpAvg = "optimizer/exp_avg";
inline const std::string kExpAvgSq = "optimizer/exp_avg_sq";

/// One tensor for each row of the parameter table.
struct TensorGroup {
  std::string name;
  std::vector<Dtype> dtypes;  // of each parameter's dataset
  /// What this rank writes of each parameter; none: nothing. Those of all ranks cover it exactly once.
  SlabLists slabs;
  SlabSource source;
};

struct WriteRequest {
  const Contents& contents;  // rank 0's counts
  const models::ParameterTable& table;
  std::vector<TensorGroup> groups;
  /// Size of the one buffer of each rank, through which everything goes; 1 GiB at most.
  std::int64_t buffer_bytes = models::kFilePieceBytes;
};

/// Bytes of the file that such a request makes, to within a thousandth and a few MiB.
[[nodiscard]] std::int64_t file_bytes(const Contents& contents, const models::ParameterTable& table,
                                      std::span<const std::vector<Dtype>> groups);

/// Writes `<path>.partial`, checks every byte of it, and renames it to `path`, which may exist. Collective.
/// Throws AgreedError (ClusterError's code where the file system refuses, the source's where that threw)
/// and leaves what was at `path`; the partial file is removed.
void write_checkpoint(const std::filesystem::path& path, const WriteRequest& request,
                      cluster::Cluster& cluster);

/// The name under which a file is written before it is known to be whole.
[[nodiscard]] std::filesystem::path partial_of(const std::filesystem::path& path);

}  // namespace moebius::checkpoint
