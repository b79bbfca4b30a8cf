#pragma once
#include <stdexcept>
#include <string>

#include "models/parameter_table.h"
#include "tensor/arena.h"
#include "tensor/dtype.h"
#include "tensor/queue.h"

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

/// Shards whose type is known only when the program runs: what a file stores, moments in fp32 or bf16.
template <Space S>
class AnyShards {
 public:
  template <class T>
  AnyShards(const Shards<T, S>& shards)
      : layout_(&shards.layout()),
        dtype_(kDtypeOf<T>),
        data_(reinterpret_cast<std::byte*>(shards.flat().data)) {}
  AnyShards(const ShardLayout& layout, Dtype dtype, Arena<S>& arena)
      : layout_(&layout),
        dtype_(dtype),
        data_(arena.template make<std::byte>(layout.size() * size_of(dtype)).data) {}

  [[nodiscard]] Dtype dtype() const { return dtype_; }
  [[nodiscard]] const ShardLayout& layout() const { return *layout_; }
  [[nodiscard]] View<std::byte, 1, S> bytes() const { return {data_, {layout_->size() * size_of(dtype_)}}; }
  /// All elements, gaps included, or one row's. Throws std::logic_error where they are not of type T.
  template <class T>
  [[nodiscard]] View<T, 1, S> flat() const {
    if (kDtypeOf<T> != dtype_)
      throw std::logic_error("shards of another type: " + std::string(name_of(dtype_)));
    return {reinterpret_cast<T*>(data_), {layout_->size()}};
  }
  template <class T>
  [[nodiscard]] View<T, 1, S> row(std::size_t index) const {
    const auto& row = layout_->row(index);
    return {flat<T>().data + row.offset, {row.size}};
  }

 private:
  const ShardLayout* layout_;  // must outlive the shards
  Dtype dtype_;
  std::byte* data_;
};

/// Start values of a model without weights, as each row's InitialValue says: element i of a tensor is
/// f(seed, initialisation, tensor_id(name), i), whatever the mesh, rounded to T. Gaps become zero.
template <class T, Space S>
void initialise(const Shards<T, S>& weights, std::uint64_t seed, Queue<S> queue);
template <class T>
void initialise(const Shards<T, Space::host>& weights, std::uint64_t seed) {
  initialise(weights, seed, Queue<Space::host>());
}

}  // namespace moebius::models
