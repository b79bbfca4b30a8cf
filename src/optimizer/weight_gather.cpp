#include "optimizer/weight_gather.h"

#include "tensor/platform.h"

namespace moebius::optimizer {

template <class T, Space S>
void WeightGather<T, S>::operator()(const models::Shards<T, S>& weights, Queue<S> queue) {
  const View<T, 1, S> flat = weights.flat();
  for (const auto& [axis, elements, own, place] : ownership_->buckets()) {
    if (exchange_->mesh().degree(axis) == 1) continue;
    exchange_->template all_gather<T>({axis, "weights"}, flat.slice(own.begin, own.size()),
                                      flat.slice(elements.begin, elements.size()), queue);
  }
}

#define MOEBIUS_INSTANTIATE(S)           \
  template class WeightGather<float, S>; \
  template class WeightGather<bf16, S>;
MOEBIUS_EACH_SPACE(MOEBIUS_INSTANTIATE)
#undef MOEBIUS_INSTANTIATE

}  // namespace moebius::optimizer
