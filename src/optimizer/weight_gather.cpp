#include "optimizer/weight_gather.h"

#include "tensor/platform.h"

namespace moebius::optimizer {

template <class T, Space S>
WeightGather<T, S>::WeightGather(const models::Ownership& ownership, parallel::Exchange<S>& exchange)
    : exchange_(&exchange) {
  for (const models::Ownership::Bucket& bucket : ownership.buckets()) {
    if (exchange.mesh().degree(bucket.axis) > 1) buckets_.push_back(bucket);
  }
}

template <class T, Space S>
void WeightGather<T, S>::start(const models::Shards<T, S>& weights, std::int64_t end, Queue<S> queue) {
  const View<T, 1, S> flat = weights.flat();
  for (; next_ < buckets_.size() && buckets_[next_].own.end <= end; ++next_) {
    const auto& [axis, elements, own, place] = buckets_[next_];
    under_way_.push_back(
        exchange_->template start_all_gather<T>({axis, "weights"}, flat.slice(own.begin, own.size()),
                                                flat.slice(elements.begin, elements.size()), queue));
  }
}

template <class T, Space S>
void WeightGather<T, S>::finish(const models::Shards<T, S>& weights, Queue<S> queue) {
  start(weights, weights.flat().size(), queue);
  for (parallel::Pending<S>& gather : under_way_) gather.wait(queue);
  under_way_.clear();
  next_ = 0;
}

#define MOEBIUS_INSTANTIATE(S)           \
  template class WeightGather<float, S>; \
  template class WeightGather<bf16, S>;
MOEBIUS_EACH_SPACE(MOEBIUS_INSTANTIATE)
#undef MOEBIUS_INSTANTIATE

}  // namespace moebius::optimizer
