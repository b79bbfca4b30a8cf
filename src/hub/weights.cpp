#include "hub/weights.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <future>
#include <utility>

#include "checkpoint/shard_access.h"
#include "tensor/platform.h"

namespace moebius::hub {
namespace {

constexpr std::int64_t kPieceBytes = std::int64_t{16} << 20;

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

/// A type that holds every value of both.
Dtype common_dtype(Dtype a, Dtype b) {
  if (a == b) return a;
  if (a == Dtype::float64 || b == Dtype::float64) return Dtype::float64;
  return Dtype::float32;  // of float32, bfloat16 and float16
}

}  // namespace

HubWeights::HubWeights(const HubFolder& folder, models::ParameterTable table)
    : folder_(&folder), table_(std::move(table)), unused_(check_fit(folder, table_)) {
  for (const models::Parameter& parameter : table_) {
    const std::vector<models::HubTensor> tensors = models::hub_tensors(parameter);
    const auto dtype_of = [&](const models::HubTensor& tensor) {
      return *folder.find(tensor.name)->tensor->dtype;
    };
    Dtype common = dtype_of(tensors.front());
    bool differ = false;
    for (const models::HubTensor& tensor : tensors) {
      differ |= dtype_of(tensor) != dtype_of(tensors.front());
      common = common_dtype(common, dtype_of(tensor));
    }
    dtypes_.push_back(common);
    if (differ) widened_.push_back(tensors.front().name);
  }
}

void HubWeights::read(std::span<const models::Slab> wanted, const checkpoint::SlabSink& sink) const {
  struct Piece {
    std::size_t parameter;
    models::Slab slab;
  };
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < table_.size(); ++i) {
    for (models::Slab& slab : checkpoint::pieces_of(wanted[i], kPieceBytes / size_of(dtypes_[i])))
      pieces.push_back({i, std::move(slab)});
  }
  // The next piece is read while the sink works on this one.
  std::array<std::vector<std::byte>, 2> buffers;
  const auto load = [&](std::size_t index) {
    const Piece& piece = pieces[index];
    std::vector<std::byte>& buffer = buffers[index % 2];
    buffer.resize(std::size_t(piece.slab.size() * size_of(dtypes_[piece.parameter])));
    read_slab(piece.parameter, piece.slab, buffer.data());
  };
  std::future<void> next;
  if (!pieces.empty()) next = std::async(std::launch::async, load, 0);
  for (std::size_t index = 0; index < pieces.size(); ++index) {
    next.get();
    if (index + 1 < pieces.size()) next = std::async(std::launch::async, load, index + 1);
    sink(pieces[index].parameter, pieces[index].slab, {dtypes_[pieces[index].parameter], buffers[index % 2]});
  }
}

void HubWeights::read_slab(std::size_t parameter, const models::Slab& slab, void* out) const {
  const Dtype dtype = dtypes_[parameter];
  for (const models::HubTensor& wanted : models::hub_tensors(table_[parameter])) {
    const std::int64_t place = place_in(slab, wanted.index);
    if (place < 0) continue;
    const models::Slab inner{{slab.ranges.begin() + std::ptrdiff_t(wanted.index.size()), slab.ranges.end()}};
    const HubFolder::Place& found = *folder_->find(wanted.name);
    found.file->read(*found.tensor, inner, dtype,
                     static_cast<std::byte*>(out) + place * inner.size() * size_of(dtype));
  }
}

std::vector<std::string> HubWeights::warnings() const {
  std::vector<std::string> lines;
  const std::string where = folder_->path().string();
  if (!unused_.empty()) {
    lines.push_back(fmt::format("{}: {} tensors belong to no parameter of this model and are left out: {}",
                                where, unused_.size(), some_of(unused_)));
  }
  if (!widened_.empty()) {
    lines.push_back(
        fmt::format("{}: {} parameters have tensors of several types, and take the one that holds all "
                    "values: those of {}",
                    where, widened_.size(), some_of(widened_)));
  }
  return lines;
}

CheckpointWeights::CheckpointWeights(const checkpoint::Reader& reader, models::ParameterTable table)
    : reader_(&reader), table_(std::move(table)) {
  reader.expect_tensors(checkpoint::kParameters, table_);
}

Dtype CheckpointWeights::stored_dtype(std::size_t parameter) const {
  const std::string path = checkpoint::kParameters + "/" + table_[parameter].name;
  return std::ranges::find(reader_->tensors(), path, &checkpoint::StoredTensor::path)->dtype;
}

void CheckpointWeights::read(std::span<const models::Slab> wanted, const checkpoint::SlabSink& sink) const {
  reader_->read(checkpoint::kParameters, table_, wanted, sink);
}

template <class T, Space S>
void load_weights(const WeightSource& source, const models::WeightState<T, S>& state, Queue<S> queue) {
  models::clear(state, queue);
  checkpoint::read_into([&](std::span<const models::Slab> wanted,
                            const checkpoint::SlabSink& sink) { source.read(wanted, sink); },
                        state, queue);
}

#define MOEBIUS_INSTANTIATE(S)                                                                     \
  template void load_weights(const WeightSource&, const models::WeightState<float, S>&, Queue<S>); \
  template void load_weights(const WeightSource&, const models::WeightState<bf16, S>&, Queue<S>);
MOEBIUS_EACH_SPACE(MOEBIUS_INSTANTIATE)
#undef MOEBIUS_INSTANTIATE

}  // namespace moebius::hub
