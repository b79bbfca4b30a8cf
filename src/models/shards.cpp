#include "models/shards.h"

#include <algorithm>

#include "tensor/random.h"

namespace moebius::models {
namespace {

void fill_normal(const Parameter& parameter, const Slab& slab, std::uint64_t seed, float* shard) {
  const Random random{seed, RandomStream::initialisation, tensor_id(parameter.name)};
  for (const Run& run : runs_of(parameter, slab)) {
#pragma omp parallel for
    for (std::int64_t i = 0; i < run.count; ++i) {
      shard[run.local + i] = float(parameter.init.deviation * random.normal(std::uint64_t(run.whole + i)));
    }
  }
}

}  // namespace

template <class T, Space S>
void initialise(const Shards<T, S>& weights, std::uint64_t seed) {
  const ShardLayout& layout = weights.layout();
  std::fill_n(weights.flat().data, weights.flat().size(), T{});
  for (std::size_t i = 0; i < layout.count(); ++i) {
    const Parameter& parameter = layout.table()[i];
    const View<T, 1, S> shard = weights[i];
    switch (parameter.init.kind) {
      case InitialValue::Kind::normal: fill_normal(parameter, layout.row(i).slab, seed, shard.data); break;
      case InitialValue::Kind::ones: std::fill_n(shard.data, shard.size(), T{1}); break;
      case InitialValue::Kind::zeros: break;
    }
  }
}

template void initialise(const Shards<float, Space::host>&, std::uint64_t);

}  // namespace moebius::models
