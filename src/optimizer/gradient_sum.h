#pragma once
#include <deque>
#include <string_view>
#include <vector>

#include "models/ownership.h"
#include "models/shards.h"
#include "parallel/exchange.h"

namespace moebius::optimizer {

/// Elements of a flat buffer that are summed over the ranks of an axis.
struct SummedRange {
  models::Axis axis;
  Range elements;
};

/// What of the owned elements has to be summed over axes that their rows are not split over and that do not
/// share them out (tensor, expert_tensor, ends), as few messages as the table allows: neighbouring rows with
/// the same axis are one range, the gaps between them included; no range is longer than `longest`. In the
/// order of the axes, then of the buffer; the same on all ranks of an axis' group.
[[nodiscard]] std::vector<SummedRange> summed_ranges(const models::Ownership& ownership,
                                                     std::int64_t longest);

/// The elements of each message that these ranges make: short ones side by side are one.
struct SumMessage {
  models::Axis axis;
  std::int64_t elements;
};
[[nodiscard]] std::vector<SumMessage> sum_messages(const models::Ownership& ownership);

/// Sums the gradients over the ranks that hold the same shards and saw other tokens
/// (models::gradient_axes): first over those that share out what the optimizer keeps, each rank getting the
/// sums of what it owns; then these over the other axes. Gaps between rows must hold finite numbers (zeros).
template <class G, Space S>
class GradientSum {
 public:
  /// Takes room from `arena` for short ranges side by side, which travel as one message.
  GradientSum(const models::Ownership& ownership, parallel::Exchange<S>& exchange, Arena<S>& arena);

  /// The gradients of the parameters whose names begin with `names` are queued: buckets that are complete
  /// with them set out. The same calls on all ranks that share a parameter.
  void start(std::string_view names, const models::Shards<G, S>& gradients, Queue<S> queue);
  /// All gradients are queued. Owned elements become their sums, others are undefined.
  void finish(const models::Shards<G, S>& gradients, Queue<S> queue);

 private:
  struct Bucket {
    models::Ownership::Bucket bucket;
    std::int64_t parameters = 0;  // that lie in it
    std::int64_t missing = 0;     // of them
    bool has_started = false;
  };
  void start(Bucket& bucket, View<G, 1, S> flat, Queue<S> queue);
  void sum_packed(std::size_t begin, std::size_t end, View<G, 1, S> flat, Queue<S> queue);

  parallel::Exchange<S>* exchange_;
  const models::Ownership* ownership_;
  std::vector<Bucket> buckets_;  // of axes with more than one rank
  std::deque<parallel::Pending<S>> under_way_;
  std::vector<SummedRange> ranges_;  // of axes with more than one rank
  View<G, 1, S> packed_;             // room for the longest run of short ranges
};

}  // namespace moebius::optimizer
