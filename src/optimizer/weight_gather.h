#pragma once
#include <deque>
#include <string_view>
#include <vector>

#include "models/ownership.h"
#include "models/shards.h"
#include "parallel/exchange.h"

namespace moebius::optimizer {

/// Every rank's weights become those of the ranks that own them and have moved them. A bucket sets out as
/// soon as its weights have moved, and travels while others move and while the next forward runs, until that
/// needs it.
template <class T, Space S>
class WeightGather {
 public:
  WeightGather(const models::Ownership& ownership, parallel::Exchange<S>& exchange);

  /// The owned weights before `end` of the flat buffer have been moved.
  void start(const models::Shards<T, S>& weights, std::int64_t end, Queue<S> queue);
  /// All have.
  void start_rest(const models::Shards<T, S>& weights, Queue<S> queue);
  /// What is queued from here on sees the new weights of the parameters whose names begin with `names`.
  void wait_for(std::string_view names, Queue<S> queue);
  /// It sees all of them. To be called before the weights are read by any other way, moved again, or given
  /// up.
  void wait_for_all(Queue<S> queue);

 private:
  /// What begins before `end` in the flat buffer.
  void wait_before(std::int64_t end, Queue<S> queue);

  struct UnderWay {
    std::int64_t begin;  // of the bucket
    parallel::Pending<S> gather;
  };
  parallel::Exchange<S>* exchange_;
  const models::ShardLayout* layout_;
  std::vector<models::Ownership::Bucket> buckets_;  // of axes with more than one rank
  std::size_t next_ = 0;                            // to be started
  std::deque<UnderWay> under_way_;                  // in the order of the buffer
};

}  // namespace moebius::optimizer
