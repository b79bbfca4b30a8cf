#pragma once
#include <vector>

#include "checkpoint/reader.h"
#include "checkpoint/write.h"
#include "models/shards.h"

/// Between files and the shards of this rank, in host memory.
namespace moebius::checkpoint {

/// What this rank writes: the shards that it owns, nothing of the others.
[[nodiscard]] std::vector<Slab> owned_slabs(const models::ShardLayout& layout);
/// What this rank needs to read: its shard of every parameter.
[[nodiscard]] std::vector<Slab> local_slabs(const models::ShardLayout& layout);

/// A group of float32 datasets with the elements of `shards`, bit for bit. The shards' memory is read when
/// the request is written.
[[nodiscard]] TensorGroup group_of(const std::string& name, const models::Shards<float, Space::host>& shards);

/// Puts what is read into `shards`: bit for bit from float32, rounded or widened from other types.
[[nodiscard]] SlabSink into(const models::Shards<float, Space::host>& shards);

/// Reads a group into this rank's shards. Throws as Reader::read does.
void read_shards(const Reader& reader, const std::string& group,
                 const models::Shards<float, Space::host>& shards);

}  // namespace moebius::checkpoint
