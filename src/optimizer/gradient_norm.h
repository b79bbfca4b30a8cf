#pragma once
#include "models/shards.h"
#include "parallel/exchange.h"

namespace moebius::optimizer {

/// The L2 norm of the model's whole gradient, the same bits on all ranks: each element counts once, on the
/// rank that owns its shard; squares are summed in double, in the order of the table, then over the ranks.
/// Not finite when a gradient anywhere is not. Gradients must have been summed before (gradient_sum.h).
template <Space S>
[[nodiscard]] double gradient_norm(const models::Shards<float, S>& gradients, parallel::Exchange<S>& exchange,
                                   Queue<S> queue);

/// What gradients are multiplied by: min(1, clip_norm / (norm + 1e-6)); 1 where clip_norm is 0 (off).
[[nodiscard]] double clipping_factor(double norm, double clip_norm);

}  // namespace moebius::optimizer
