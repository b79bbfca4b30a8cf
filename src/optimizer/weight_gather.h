#pragma once
#include "models/ownership.h"
#include "models/shards.h"
#include "parallel/exchange.h"

namespace moebius::optimizer {

/// Every rank's weights become those of the ranks that own them and have moved them.
template <class T, Space S>
class WeightGather {
 public:
  WeightGather(const models::Ownership& ownership, parallel::Exchange<S>& exchange)
      : exchange_(&exchange), ownership_(&ownership) {}
  void operator()(const models::Shards<T, S>& weights, Queue<S> queue);

 private:
  parallel::Exchange<S>* exchange_;
  const models::Ownership* ownership_;
};

}  // namespace moebius::optimizer
