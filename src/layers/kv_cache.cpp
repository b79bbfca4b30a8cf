#include "layers/kv_cache.h"

#include <stdexcept>
#include <string>

namespace moebius::layers {

template <Platform P>
KvCache<P>::KvCache(const Shape& shape, Arena<P::kSpace>& arena)
    : shape_(shape), lengths_(std::size_t(shape.sequences), 0) {
  for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
    const auto half = [&] {
      return arena.template make<typename P::Storage>(shape.sequences * shape.capacity, shape.columns);
    };
    layers_.push_back({half(), half()});
  }
}

template <Platform P>
DecodeStep KvCache<P>::grow(const std::vector<std::int64_t>& new_tokens, std::int64_t rows) {
  DecodeStep step;
  step.query_starts.push_back(0);
  for (std::size_t s = 0; s < lengths_.size(); ++s) {
    const std::int64_t begin = std::int64_t(s) * shape_.capacity, count = new_tokens[s];
    if (lengths_[s] + count > shape_.capacity) {
      throw std::length_error("sequence " + std::to_string(s) + " outgrows the cache of " +
                              std::to_string(shape_.capacity) + " tokens");
    }
    for (std::int64_t i = lengths_[s]; i < lengths_[s] + count; ++i) {
      step.positions.push_back(std::int32_t(i));
      step.cache_rows.push_back(std::int32_t(begin + i));
    }
    lengths_[s] += count;
    step.query_starts.push_back(std::int32_t(step.positions.size()));
    step.key_starts.push_back(std::int32_t(begin));
    step.key_counts.push_back(std::int32_t(count == 0 ? 0 : lengths_[s]));
  }
  step.key_starts.push_back(std::int32_t(shape_.sequences * shape_.capacity));
  step.positions.resize(std::size_t(rows), 0);
  step.cache_rows.resize(std::size_t(rows), -1);
  return step;
}

template <Platform P>
std::int64_t KvCache<P>::bytes(const Shape& shape) {
  const std::int64_t elements = shape.sequences * shape.capacity * shape.columns;
  return 2 * shape.layers *
         round_up(elements * std::int64_t(sizeof(typename P::Storage)), Memory<P::kSpace>::kAlignment);
}

#define INSTANTIATE(P) template class KvCache<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::layers
