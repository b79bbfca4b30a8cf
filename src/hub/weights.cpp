#include "hub/weights.h"

#include <algorithm>
#include <utility>

namespace moebius::hub {
namespace {

/// Place of a hub tensor among the leading dims of a slab, counted in tensors; -1 where the slab leaves it
/// out.
std::int64_t place_in(const models::Slab& slab, const std::vector<std::int64_t>& index) {
  std::int64_t place = 0;
  for (std::size_t dim = 0; dim < index.size(); ++dim) {
    const Range& range = slab.ranges[dim];
    if (!range.contains(index[dim])) return -1;
    place = place * range.size() + index[dim] - range.begin;
  }
  return place;
}

}  // namespace

HubWeights::HubWeights(const HubFolder& folder, models::ParameterTable table)
    : folder_(&folder), table_(std::move(table)), unused_(check_fit(folder, table_)) {}

Dtype HubWeights::stored_dtype(std::size_t index) const {
  std::optional<Dtype> common;
  for (const models::HubTensor& tensor : models::hub_tensors(table_[index])) {
    const Dtype dtype = *folder_->find(tensor.name)->tensor->dtype;
    if (!common) common = dtype;
    if (dtype == *common) continue;
    if (dtype == Dtype::float64 || common == Dtype::float64) return Dtype::float64;
    common = Dtype::float32;  // holds every bfloat16 and float16
  }
  return *common;
}

void HubWeights::read(std::size_t index, const models::Slab& slab, Dtype dtype, void* out) const {
  for (const models::HubTensor& wanted : models::hub_tensors(table_[index])) {
    const std::int64_t place = place_in(slab, wanted.index);
    if (place < 0) continue;
    const models::Slab inner{{slab.ranges.begin() + std::ptrdiff_t(wanted.index.size()), slab.ranges.end()}};
    const HubFolder::Place& found = *folder_->find(wanted.name);
    found.file->read(*found.tensor, inner, dtype,
                     static_cast<std::byte*>(out) + place * inner.size() * size_of(dtype));
  }
}

void load_weights(const WeightSource& source, const models::Shards<float, Space::host>& shards) {
  const models::ShardLayout& layout = shards.layout();
  std::fill_n(shards.flat().data, shards.flat().size(), 0.0f);
  for (std::size_t i = 0; i < layout.count(); ++i) {
    source.read(i, layout.row(i).slab, Dtype::float32, shards[i].data);
  }
}

}  // namespace moebius::hub
