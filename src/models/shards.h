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
  const ShardLayout* layout_;  // must outlive the shards
  View<T, 1, S> flat_;
};

/// Start values of a model without weights, as each row's InitialValue says: element i of a tensor is
/// f(seed, initialisation, tensor_id(name), i), whatever the mesh. Gaps become zero.
template <class T, Space S>
void initialise(const Shards<T, S>& weights, std::uint64_t seed);

}  // namespace moebius::models
