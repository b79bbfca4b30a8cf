#include "parallel/token_exchange.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "base/math.h"
#include "kernels/moe/permute.h"
#include "tensor/platform.h"

namespace moebius::parallel {
namespace {

std::int64_t sum(const std::vector<std::int64_t>& values) {
  return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

/// Rows for, or from, each index of the axis, of the rows by expert.
std::vector<std::int64_t> rows_by_index(const std::vector<std::int64_t>& counts, std::int64_t local_experts) {
  std::vector<std::int64_t> rows;
  for (auto block = counts.begin(); block != counts.end(); block += local_experts)
    rows.push_back(std::accumulate(block, block + local_experts, std::int64_t{0}));
  return rows;
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

template <Space S>
Dispatch<S> plan_dispatch(Exchange<S>& exchange, const PlanDispatch<S>& op, Queue<S> queue) {
  const Call call{Axis::expert, op.name};
  const std::int64_t degree = exchange.mesh().degree(Axis::expert);
  const std::int64_t experts = op.starts.size() - 1, local_experts = divide_exactly(experts, degree);
  const View<std::int32_t, 1, Space::host> staged = op.staging.template make<std::int32_t>(experts + 1);
  download<std::int32_t>(op.starts, staged, queue);
  exchange.wait(call, queue);

  std::vector<std::int64_t> sent(std::size_t(experts), 0), received(std::size_t(experts), 0);
  for (std::int64_t e = 0; e < experts; ++e) sent[std::size_t(e)] = staged(e + 1) - staged(e);
  exchange.swap_counts(call, sent, received);

  Dispatch<S> dispatch;
  dispatch.sent_rows = rows_by_index(sent, local_experts);
  dispatch.received_rows = rows_by_index(received, local_experts);

  const std::int64_t rows = narrow<std::int32_t>(dispatch.received());
  dispatch.starts = op.kept.template make<std::int32_t>(local_experts + 1);
  dispatch.sources = op.kept.template make<std::int32_t>(rows);
  dispatch.positions = op.kept.template make<std::int32_t>(rows);
  const ArenaScope scope(op.kept);
  const View<std::int32_t, 2, S> counts = op.kept.template make<std::int32_t>(degree, local_experts);
  const View<std::int32_t, 1, Space::host> staged_counts = staged.slice(0, experts);
  std::copy(received.begin(), received.end(), staged_counts.data);
  upload<std::int32_t>(staged_counts, counts.flat(), queue);
  kernels::regroup_plan({.counts = counts,
                         .starts = dispatch.starts,
                         .sources = dispatch.sources,
                         .positions = dispatch.positions},
                        queue);
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

#define INSTANTIATE_MOVES(T, S)                                                          \
  template void dispatch_rows(Exchange<S>&, const MoveRows<T, S>&, Arena<S>&, Queue<S>); \
  template void combine_rows(Exchange<S>&, const MoveRows<T, S>&, Arena<S>&, Queue<S>);
#define INSTANTIATE(S)                                                                \
  template struct Dispatch<S>;                                                        \
  template Dispatch<S> plan_dispatch(Exchange<S>&, const PlanDispatch<S>&, Queue<S>); \
  INSTANTIATE_MOVES(float, S)
MOEBIUS_EACH_SPACE(INSTANTIATE)
#if MOEBIUS_CUDA
INSTANTIATE_MOVES(bf16, Space::device)
#endif

}  // namespace moebius::parallel
