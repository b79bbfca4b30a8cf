#pragma once
#include "models/parameter_table.h"
#include "tensor/arena.h"

namespace moebius::models {

/// This rank's shard of every parameter, for one purpose: weights, gradients, a moment. Does not own: the
/// memory is the arena's.
template <class T, Space S>
class Shards {
 public:
  Shards(const ShardLayout& layout, Arena<S>& arena)
      : layout_(&layout), flat_(arena.template make<T>(layout.size())) {}

  /// All elements; gaps between the rows belong to nobody and must be zero in what is reduced or normed.
  [[nodiscard]] View<T, 1, S> flat() const { return flat_; }
  [[nodiscard]] View<T, 1, S> operator[](std::size_t index) const {
    const auto& row = layout_->row(index);
    return {flat_.data + row.offset, {row.size}};
  }
  [[nodiscard]] const ShardLayout& layout() const { return *layout_; }

 private:
  const ShardLayout* layout_;
  View<T, 1, S> flat_;
};

}  // namespace moebius::models
