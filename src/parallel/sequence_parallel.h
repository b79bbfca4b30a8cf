#pragma once
#include "parallel/exchange.h"

/// Sequence parallelism: between the tensor-parallel blocks each rank of Axis::tensor holds its own tokens;
/// inside a block all of them hold all tokens and a part of the width.
namespace moebius::parallel {

/// [tokens / degree, width] of each rank -> [tokens, width] on all. Backward: scatter_sum_tokens.
template <class T, Space S>
void gather_tokens(Exchange<S>& exchange, std::string_view name, Input<T, 2, S> part, View<T, 2, S> whole,
                   Queue<S> queue = {}) {
  exchange.all_gather(Call{Axis::tensor, name}, part.flat(), whole.flat(), queue);
}

/// [tokens, width] partial sums on each rank -> [tokens / degree, width] of the sum. Backward: gather_tokens.
template <class T, Space S>
void scatter_sum_tokens(Exchange<S>& exchange, std::string_view name, Input<T, 2, S> whole,
                        View<T, 2, S> part, Queue<S> queue = {}) {
  exchange.reduce_scatter(Call{Axis::tensor, name}, whole.flat(), part.flat(), queue);
}

}  // namespace moebius::parallel
