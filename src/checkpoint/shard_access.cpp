#include "checkpoint/shard_access.h"

#include <algorithm>

#include "tensor/convert.h"

namespace moebius::checkpoint {

using HostShards = models::Shards<float, Space::host>;

std::vector<Slab> owned_slabs(const models::ShardLayout& layout) {
  std::vector<Slab> slabs = local_slabs(layout);
  for (std::size_t i = 0; i < layout.count(); ++i) {
    if (layout.row(i).owned) continue;
    for (Range& range : slabs[i].ranges) range.end = range.begin;
  }
  return slabs;
}

std::vector<Slab> local_slabs(const models::ShardLayout& layout) {
  std::vector<Slab> slabs;
  for (std::size_t i = 0; i < layout.count(); ++i) slabs.push_back(layout.row(i).slab);
  return slabs;
}

TensorGroup group_of(const std::string& name, const HostShards& shards) {
  const auto source = [shards](std::size_t parameter, const Slab& slab, std::span<std::byte> elements) {
    auto* const out = reinterpret_cast<float*>(elements.data());
    for (const Run& run : runs_inside(shards.layout().row(parameter).slab, slab))
      std::copy_n(shards[parameter].data + run.whole, run.count, out + run.local);
  };
  return {name, std::vector<Dtype>(shards.layout().count(), Dtype::float32), source};
}

SlabSink into(const HostShards& shards) {
  return [shards](std::size_t parameter, const Slab& slab, const Elements& elements) {
    for (const Run& run : runs_inside(shards.layout().row(parameter).slab, slab))
      convert(elements.dtype, elements.bytes.data() + run.local * size_of(elements.dtype), Dtype::float32,
              shards[parameter].data + run.whole, run.count);
  };
}

void read_shards(const Reader& reader, const std::string& group, const HostShards& shards) {
  reader.read(group, shards.layout().table(), local_slabs(shards.layout()), into(shards));
}

}  // namespace moebius::checkpoint
