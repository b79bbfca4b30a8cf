#include "models/shards.h"

#include "models/weight_state.h"
#include "tensor/platform.h"

namespace moebius::models {

template <class T, Space S>
void initialise(const Shards<T, S>& weights, std::uint64_t seed, Queue<S> queue) {
  initialise(WeightState<T, S>{.weights = weights, .master = {}, .remainder = {}}, seed, queue);
}

#define MOEBIUS_INSTANTIATE(S)                                                \
  template void initialise(const Shards<float, S>&, std::uint64_t, Queue<S>); \
  template void initialise(const Shards<bf16, S>&, std::uint64_t, Queue<S>);
MOEBIUS_EACH_SPACE(MOEBIUS_INSTANTIATE)
#undef MOEBIUS_INSTANTIATE

}  // namespace moebius::models
