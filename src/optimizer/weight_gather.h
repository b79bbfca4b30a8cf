#pragma once
#include <vector>

#include "models/ownership.h"
#include "models/shards.h"
#include "parallel/exchange.h"

namespace moebius::optimizer {

/// Every rank's weights become those of the ranks that own them and have moved them. A bucket sets out as
/// soon as its weights have moved, and travels while others move.
template <class T, Space S>
class WeightGather {
 public:
  WeightGather(const models::Ownership& ownership, parallel::Exchange<S>& exchange);

  /// The owned weights before `end` of the flat buffer have been moved.
  void start(const models::Shards<T, S>& weights, std::int64_t end, Queue<S> queue);
  /// All have; what is queued from here on sees all of them.
  void finish(const models::Shards<T, S>& weights, Queue<S> queue);

 private:
  parallel::Exchange<S>* exchange_;
  std::vector<models::Ownership::Bucket> buckets_;  // of axes with more than one rank
  std::size_t next_ = 0;                            // to be started
  std::vector<parallel::Pending<S>> under_way_;
};

}  // namespace moebius::optimizer
