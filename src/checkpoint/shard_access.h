#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/reader.h"
#include "checkpoint/write.h"
#include "models/shard_transfer.h"

/// Between files and the shards of this rank, in the host's memory or a device's. No second copy of anything:
/// all goes through buffers of some MiB. What reads or writes waits for the queue, so all is in place when it
/// returns.
namespace moebius::checkpoint {

using models::AnyOwned;
using models::AnyShards;
using models::WeightState;

/// What this rank needs to read: its shard of every parameter.
[[nodiscard]] std::vector<Slab> local_slabs(const models::ShardLayout& layout);

/// A group of datasets with the elements of `shards` in their type, bit for bit: of the ranks that hold a
/// shard, one writes it. The shards' memory is read when the request is written.
template <Space S>
[[nodiscard]] TensorGroup group_of(const std::string& name, const std::type_identity_t<AnyShards<S>>& shards,
                                   Queue<S> queue);
[[nodiscard]] inline TensorGroup group_of(const std::string& name, const AnyShards<Space::host>& shards) {
  return group_of(name, shards, Queue<Space::host>());
}
/// The same of what the optimizer keeps: each rank writes what it owns.
template <Space S>
[[nodiscard]] TensorGroup group_of_owned(const std::string& name, const AnyOwned<S>& values, Queue<S> queue);
/// A group of float32 datasets with the fp32 values of the weights, bit for bit: each rank writes what it
/// owns. Not where weights are their own truth.
template <class T, Space S>
[[nodiscard]] TensorGroup truth_group_of(const std::string& name, const WeightState<T, S>& state,
                                         Queue<S> queue);

/// Gives `sink` the wanted slab of each parameter (no elements: none), in parts. As Reader::read of one
/// group.
using SlabReading = std::function<void(std::span<const Slab> wanted, const SlabSink& sink)>;

/// Runs `reading` for this rank's shards and puts what it gives into them: bit for bit where the types are
/// the same, rounded or widened otherwise. Throws what `reading` throws.
template <Space S>
void read_into(const SlabReading& reading, const std::type_identity_t<AnyShards<S>>& shards, Queue<S> queue);
/// The same for weights: what is given becomes their truth, and they are rounded from it.
template <class T, Space S>
void read_into(const SlabReading& reading, const WeightState<T, S>& state, Queue<S> queue);

/// Reads a group into this rank's shards. Throws as Reader::read does.
template <Space S>
void read_shards(const Reader& reader, const std::string& group,
                 const std::type_identity_t<AnyShards<S>>& shards, Queue<S> queue);
inline void read_shards(const Reader& reader, const std::string& group,
                        const AnyShards<Space::host>& shards) {
  read_shards(reader, group, shards, Queue<Space::host>());
}

/// The same into what this rank owns.
template <Space S>
void read_owned(const Reader& reader, const std::string& group, const AnyOwned<S>& values, Queue<S> queue);

/// Reads the weights: from their fp32 values where the file has them, else as they are stored.
template <class T, Space S>
void read_weights(const Reader& reader, const WeightState<T, S>& state, Queue<S> queue);

}  // namespace moebius::checkpoint
