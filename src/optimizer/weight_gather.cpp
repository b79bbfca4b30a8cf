#include "optimizer/weight_gather.h"

#include <algorithm>

#include "tensor/platform.h"

namespace moebius::optimizer {

template <class T, Space S>
WeightGather<T, S>::WeightGather(const models::Ownership& ownership, parallel::Exchange<S>& exchange)
    : exchange_(&exchange), layout_(&ownership.layout()) {
  for (const models::Ownership::Bucket& bucket : ownership.buckets()) {
    if (exchange.mesh().degree(bucket.axis) > 1) buckets_.push_back(bucket);
  }
}

template <class T, Space S>
void WeightGather<T, S>::start(const models::Shards<T, S>& weights, std::int64_t end, Queue<S> queue) {
  const View<T, 1, S> flat = weights.flat();
  for (; next_ < buckets_.size() && buckets_[next_].own.end <= end; ++next_) {
    const auto& [axis, elements, own, place] = buckets_[next_];
    under_way_.push_back({.begin = elements.begin,
                          .gather = exchange_->template start_all_gather<T>(
                              {axis, "weights"}, flat.slice(own.begin, own.size()),
                              flat.slice(elements.begin, elements.size()), queue)});
  }
}

template <class T, Space S>
void WeightGather<T, S>::start_rest(const models::Shards<T, S>& weights, Queue<S> queue) {
  start(weights, weights.flat().size(), queue);
  next_ = 0;
}

template <class T, Space S>
void WeightGather<T, S>::wait_for(std::string_view names, Queue<S> queue) {
  if (under_way_.empty()) return;
  std::int64_t end = 0;
  for (std::size_t index = 0; index < layout_->count(); ++index) {
    const auto& row = layout_->row(index);
    if (layout_->table()[index].name.starts_with(names)) end = std::max(end, row.offset + row.size);
  }
  wait_before(end, queue);
}

template <class T, Space S>
void WeightGather<T, S>::wait_for_all(Queue<S> queue) {
  wait_before(layout_->size(), queue);
}

template <class T, Space S>
void WeightGather<T, S>::wait_before(std::int64_t end, Queue<S> queue) {
  for (; !under_way_.empty() && under_way_.front().begin < end; under_way_.pop_front())
    under_way_.front().gather.wait(queue);
}

#define MOEBIUS_INSTANTIATE(S)           \
  template class WeightGather<float, S>; \
  template class WeightGather<bf16, S>;
MOEBIUS_EACH_SPACE(MOEBIUS_INSTANTIATE)
#undef MOEBIUS_INSTANTIATE

}  // namespace moebius::optimizer
