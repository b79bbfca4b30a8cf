#pragma once
#include "models/ownership.h"
#include "models/shards.h"
#include "parallel/exchange.h"

namespace moebius::optimizer {

/// sum [1] += the squares of the model's whole gradient, the same bits on all ranks: each element counts
/// once, on the one rank that stands for it; squares are summed in double, in the order of the table, then
/// over the ranks. Not finite when a gradient anywhere is not. Gradients must have been summed before
/// (gradient_sum.h).
template <class G, Space S>
struct GradientSquares {
  const models::Ownership& ownership;
  const models::Shards<G, S>& gradients;
  View<double, 1, S> sum;
};
template <class G, Space S>
void add_squares(const GradientSquares<G, S>& op, parallel::Exchange<S>& exchange, Queue<S> queue);

}  // namespace moebius::optimizer
