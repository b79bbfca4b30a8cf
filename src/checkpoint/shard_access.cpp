#include "checkpoint/shard_access.h"

#include "tensor/platform.h"

namespace moebius::checkpoint {
namespace {

using models::Ownership;
using models::ShardDownload;
using models::ShardLayout;
using models::ShardUpload;

/// What this rank writes of shards: those that it owns, nothing of the others.
SlabLists owned_shards(const ShardLayout& layout) {
  SlabLists lists(layout.count());
  for (std::size_t i = 0; i < layout.count(); ++i) {
    if (layout.row(i).owned) lists[i].push_back(layout.row(i).slab);
  }
  return lists;
}

/// The places in the whole tensors of what this rank owns.
SlabLists owned_places(const Ownership& ownership) {
  const ShardLayout& layout = ownership.layout();
  SlabLists lists(layout.count());
  for (std::size_t i = 0; i < layout.count(); ++i) {
    const auto& row = layout.row(i);
    for (const auto& [owned, place] : ownership.owned({row.offset, row.offset + row.size})) {
      for (Slab& slab : slabs_of(row.slab, {owned.begin - row.offset, owned.end - row.offset}))
        lists[i].push_back(std::move(slab));
    }
  }
  return lists;
}

/// Those of them that no other rank writes.
SlabLists written_places(const Ownership& ownership) {
  SlabLists lists = owned_places(ownership);
  for (std::size_t i = 0; i < lists.size(); ++i) {
    if (!ownership.stands_for(i)) lists[i].clear();
  }
  return lists;
}

/// Groups are copied, their staging memory is not: the copies of one share it.
template <Space S, class From>
TensorGroup group_from(const std::string& name, const From& from, SlabLists slabs, Queue<S> queue) {
  const auto download = std::make_shared<ShardDownload<S>>(from, queue);
  const ShardLayout& layout = from.layout();
  const auto source = [download, &layout](std::size_t parameter, const Slab& slab,
                                          std::span<std::byte> elements) {
    download->get(parameter, runs_inside(layout.row(parameter).slab, slab), elements.data());
  };
  return {name, std::vector<Dtype>(layout.count(), download->dtype()), std::move(slabs), source};
}

/// Puts what is read into a ShardUpload of some destination.
template <Space S>
SlabSink sink_of(ShardUpload<S>& upload, const ShardLayout& layout) {
  return [&upload, &layout](std::size_t parameter, const Slab& slab, const Elements& elements) {
    upload.put(parameter, runs_inside(layout.row(parameter).slab, slab), elements.dtype,
               elements.bytes.data());
  };
}

template <Space S, class To>
void read_to(const SlabReading& reading, const To& to, Queue<S> queue) {
  ShardUpload<S> upload(to, queue);
  reading(local_slabs(to.layout()), sink_of(upload, to.layout()));
  upload.finish();
}

SlabReading reading_of(const Reader& reader, const std::string& group, const models::ParameterTable& table) {
  return [&](std::span<const Slab> wanted, const SlabSink& sink) { reader.read(group, table, wanted, sink); };
}

}  // namespace

std::vector<Slab> local_slabs(const ShardLayout& layout) {
  std::vector<Slab> slabs;
  for (std::size_t i = 0; i < layout.count(); ++i) slabs.push_back(layout.row(i).slab);
  return slabs;
}

template <Space S>
TensorGroup group_of(const std::string& name, const std::type_identity_t<AnyShards<S>>& shards,
                     Queue<S> queue) {
  return group_from(name, shards, owned_shards(shards.layout()), queue);
}

template <Space S>
TensorGroup group_of_owned(const std::string& name, const AnyOwned<S>& values, Queue<S> queue) {
  return group_from(name, values, written_places(values.ownership()), queue);
}

template <class T, Space S>
TensorGroup truth_group_of(const std::string& name, const WeightState<T, S>& state, Queue<S> queue) {
  return group_from(name, state, written_places(*state.ownership()), queue);
}

template <Space S>
void read_into(const SlabReading& reading, const std::type_identity_t<AnyShards<S>>& shards, Queue<S> queue) {
  read_to(reading, shards, queue);
}

template <class T, Space S>
void read_into(const SlabReading& reading, const WeightState<T, S>& state, Queue<S> queue) {
  read_to(reading, state, queue);
}

template <Space S>
void read_shards(const Reader& reader, const std::string& group,
                 const std::type_identity_t<AnyShards<S>>& shards, Queue<S> queue) {
  read_into(reading_of(reader, group, shards.layout().table()), shards, queue);
}

template <Space S>
void read_owned(const Reader& reader, const std::string& group, const AnyOwned<S>& values, Queue<S> queue) {
  ShardUpload<S> upload(values, queue);
  reader.read(group, values.layout().table(), owned_places(values.ownership()),
              sink_of(upload, values.layout()));
  upload.finish();
}

template <class T, Space S>
void read_weights(const Reader& reader, const WeightState<T, S>& state, Queue<S> queue) {
  const std::string& group = reader.has_group(kMaster) ? kMaster : kParameters;
  read_into(reading_of(reader, group, state.layout().table()), state, queue);
}

#define MOEBIUS_INSTANTIATE_FOR(T, S)                                                          \
  template TensorGroup truth_group_of(const std::string&, const WeightState<T, S>&, Queue<S>); \
  template void read_into(const SlabReading&, const WeightState<T, S>&, Queue<S>);             \
  template void read_weights(const Reader&, const WeightState<T, S>&, Queue<S>);
#define MOEBIUS_INSTANTIATE(S)                                                               \
  template TensorGroup group_of_owned(const std::string&, const AnyOwned<S>&, Queue<S>);     \
  template void read_owned(const Reader&, const std::string&, const AnyOwned<S>&, Queue<S>); \
  MOEBIUS_INSTANTIATE_FOR(float, S)                                                          \
  MOEBIUS_INSTANTIATE_FOR(bf16, S)                                                           \
  template TensorGroup group_of(const std::string&, const AnyShards<S>&, Queue<S>);          \
  template void read_into(const SlabReading&, const AnyShards<S>&, Queue<S>);                \
  template void read_shards(const Reader&, const std::string&, const AnyShards<S>&, Queue<S>);
MOEBIUS_EACH_SPACE(MOEBIUS_INSTANTIATE)
#undef MOEBIUS_INSTANTIATE
#undef MOEBIUS_INSTANTIATE_FOR

}  // namespace moebius::checkpoint
