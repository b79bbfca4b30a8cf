#include "parallel/token_exchange.h"

#include <numeric>
#include <string>

#include "base/math.h"
#include "kernels/moe/permute.h"

namespace moebius::parallel {
namespace {

std::int64_t sum(const std::vector<std::int64_t>& values) {
  return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

}  // namespace

template <Space S>
std::int64_t Dispatch<S>::sent() const {
  return sum(sent_rows);
}
template <Space S>
std::int64_t Dispatch<S>::received() const {
  return sum(received_rows);
}

Dispatch<Space::host> plan_dispatch(Exchange<Space::host>& exchange, std::string_view name,
                                    View<const std::int32_t, 1, Space::host> starts,
                                    Arena<Space::host>& arena) {
  const std::int64_t degree = exchange.mesh().degree(Axis::expert);
  const std::int64_t experts = starts.size() - 1, local_experts = divide_exactly(experts, degree);

  std::vector<std::int64_t> sent(std::size_t(experts), 0), received(std::size_t(experts), 0);
  for (std::int64_t e = 0; e < experts; ++e) sent[std::size_t(e)] = starts(e + 1) - starts(e);
  exchange.swap_counts({Axis::expert, name}, sent, received);

  Dispatch<Space::host> dispatch;
  const auto rows_by_index = [&](const std::vector<std::int64_t>& counts) {
    std::vector<std::int64_t> rows;
    for (auto block = counts.begin(); block != counts.end(); block += local_experts)
      rows.push_back(std::accumulate(block, block + local_experts, std::int64_t{0}));
    return rows;
  };
  dispatch.sent_rows = rows_by_index(sent);
  dispatch.received_rows = rows_by_index(received);

  const std::int64_t rows = narrow<std::int32_t>(dispatch.received());
  dispatch.starts = arena.make<std::int32_t>(local_experts + 1);
  dispatch.sources = arena.make<std::int32_t>(rows);
  dispatch.positions = arena.make<std::int32_t>(rows);
  const ArenaScope scope(arena);
  const auto counts = arena.make<std::int32_t>(degree, local_experts);
  std::copy(received.begin(), received.end(), counts.data);
  kernels::regroup_plan({.counts = counts,
                         .starts = dispatch.starts,
                         .sources = dispatch.sources,
                         .positions = dispatch.positions});
  return dispatch;
}

template <class T, Space S>
void dispatch_rows(Exchange<S>& exchange, const MoveRows<T, S>& op, Arena<S>& workspace, Queue<S> queue) {
  const Dispatch<S>& dispatch = op.dispatch;
  const Call call{Axis::expert, op.name};
  if (dispatch.in_order())
    return exchange.template all_to_all<T>(call, {op.from, dispatch.sent_rows},
                                           {op.to, dispatch.received_rows}, queue);
  const ArenaScope scope(workspace);
  const auto arrived = workspace.template make<T>(dispatch.received(), op.to.shape[1]);
  exchange.template all_to_all<T>(call, {op.from, dispatch.sent_rows}, {arrived, dispatch.received_rows},
                                  queue);
  kernels::gather_rows<T>({.x = arrived, .index = dispatch.sources, .y = op.to}, queue);
}

template <class T, Space S>
void combine_rows(Exchange<S>& exchange, const MoveRows<T, S>& op, Arena<S>& workspace, Queue<S> queue) {
  const Dispatch<S>& dispatch = op.dispatch;
  const Call call{Axis::expert, op.name};
  if (dispatch.in_order())
    return exchange.template all_to_all<T>(call, {op.from, dispatch.received_rows},
                                           {op.to, dispatch.sent_rows}, queue);
  const ArenaScope scope(workspace);
  const auto leaving = workspace.template make<T>(dispatch.received(), op.from.shape[1]);
  kernels::gather_rows<T>({.x = op.from, .index = dispatch.positions, .y = leaving}, queue);
  exchange.template all_to_all<T>(call, {leaving, dispatch.received_rows}, {op.to, dispatch.sent_rows},
                                  queue);
}

template struct Dispatch<Space::host>;
template void dispatch_rows(Exchange<Space::host>&, const MoveRows<float, Space::host>&, Arena<Space::host>&,
                            Queue<Space::host>);
template void combine_rows(Exchange<Space::host>&, const MoveRows<float, Space::host>&, Arena<Space::host>&,
                           Queue<Space::host>);

}  // namespace moebius::parallel
