#pragma once
#include <vector>

#include "kernels/attention/attention.h"
#include "tensor/arena.h"
#include "tensor/platform.h"

namespace moebius::layers {

/// Keys and values of one layer for all sequences: sequence s owns rows s * capacity and the next ones.
template <Platform P>
struct KvCacheLayer {
  View<typename P::Storage, 2, P::kSpace> keys, values;  // [sequences * capacity, kv_heads * head_dim]
};

/// Where the new tokens of a decode step belong: segment i holds the new tokens of one sequence.
template <Space S>
struct CachedPlaces {
  View<const std::int32_t, 1, S> positions;   // [tokens]
  View<const std::int32_t, 1, S> cache_rows;  // [tokens]; row of the cache for each new token; -1: padding
  kernels::Segments<S> segments;              // keys counted with the new ones
};

/// Which sequences get how many new tokens, as CachedPlaces needs it, in host memory.
struct DecodeStep {
  std::vector<std::int32_t> positions, cache_rows, query_starts, key_starts, key_counts;
};

/// The keys and values of a batch of sequences, in all layers.
template <Platform P>
class KvCache {
 public:
  struct Shape {
    std::int64_t layers, sequences, capacity;  // capacity: the longest a sequence may grow
    std::int64_t columns;                      // kv_heads of this rank * head_dim
  };
  KvCache(const Shape& shape, Arena<P::kSpace>& arena);

  [[nodiscard]] const KvCacheLayer<P>& layer(std::int64_t index) const { return layers_[std::size_t(index)]; }
  [[nodiscard]] std::int64_t length(std::int64_t sequence) const { return lengths_[std::size_t(sequence)]; }
  [[nodiscard]] std::int64_t sequences() const { return shape_.sequences; }

  /// Makes room for new_tokens[s] more tokens of sequence s (0: the sequence rests), laid out in that order
  /// and padded to `rows` rows. Throws std::length_error past the capacity.
  [[nodiscard]] DecodeStep grow(const std::vector<std::int64_t>& new_tokens, std::int64_t rows);
  static std::int64_t bytes(const Shape& shape);

 private:
  Shape shape_;
  std::vector<KvCacheLayer<P>> layers_;
  std::vector<std::int64_t> lengths_;
};

}  // namespace moebius::layers
