#pragma once
#include <filesystem>
#include <string>

#include "cluster/cluster.h"

namespace moebius::checkpoint {

struct Inspection {
  /// For people: tensors with types, shapes and bytes, what else the file holds, the job, and whether every
  /// checksum is right.
  std::string text;
  std::int64_t damaged_slabs = 0;  // 0: the file is whole
};

/// Reads all of a file, spread over the ranks; the same result on all of them. Collective. Throws
/// AgreedError (InputError's code) for a file that cannot be opened as a checkpoint.
[[nodiscard]] Inspection inspect(const std::filesystem::path& file, cluster::Cluster& cluster);

}  // namespace moebius::checkpoint
