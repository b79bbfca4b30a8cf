#pragma once
#include <algorithm>
#include <bit>
#include <span>
#include <vector>

#include "parallel/exchange.h"

namespace moebius::parallel {

/// values, in host memory whatever the space, become their sums over the ranks of an axis: every rank gets
/// everybody's bits and adds them in the order of the index. For few numbers.
template <Space S>
void sum_on_host(Exchange<S>& exchange, Call call, std::span<double> values) {
  const std::int64_t degree = exchange.mesh().degree(call.axis);
  if (degree == 1) return;
  std::vector<std::int64_t> sent, received(values.size() * std::size_t(degree));
  sent.reserve(received.size());
  for (std::int64_t i = 0; i < degree; ++i) {
    for (const double value : values) sent.push_back(std::bit_cast<std::int64_t>(value));
  }
  exchange.swap_counts(call, sent, received);
  std::ranges::fill(values, 0.0);
  for (std::size_t i = 0; i < received.size(); ++i)
    values[i % values.size()] += std::bit_cast<double>(received[i]);
}

}  // namespace moebius::parallel
