#include "parallel/token_exchange.h"

#include <algorithm>
#include <numeric>

#include "base/math.h"
#include "kernels/moe/permute.h"
#include "tensor/platform.h"

namespace moebius::parallel {
namespace {

/// What a rank tells another: rows that it sends, or holds, and how many assignments they have there.
struct Load {
  std::int64_t rows = 0, assignments = 0;
};

std::int64_t sum(const std::vector<std::int64_t>& values) {
  return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

/// loads[i] goes to index i of the axis; returns what comes from each.
template <Space S>
std::vector<Load> swap_loads(Exchange<S>& exchange, Call call, const std::vector<Load>& loads) {
  std::vector<std::int64_t> sent, received(2 * loads.size());
  sent.reserve(2 * loads.size());
  for (const Load& load : loads) sent.insert(sent.end(), {load.rows, load.assignments});
  exchange.swap_counts(call, sent, received);
  std::vector<Load> answer(loads.size());
  for (std::size_t i = 0; i < answer.size(); ++i) answer[i] = {received[2 * i], received[2 * i + 1]};
  return answer;
}

/// Fills in dispatch.positions; returns what goes to each index of Axis::expert.
template <Space S>
std::vector<Load> plan_leaving(Exchange<S>& exchange, const PlanDispatch<S>& op, Dispatch<S>& dispatch,
                               Queue<S> queue) {
  const std::int64_t degree = exchange.mesh().degree(Axis::expert), experts = op.counts.size();
  const std::int64_t local_experts = divide_exactly(experts, degree);
  dispatch.positions = op.kept.template make<std::int32_t>(op.ids.shape);
  const ArenaScope scope(op.kept);
  const View<std::int32_t, 1, S> starts = op.kept.template make<std::int32_t>(degree + 1);
  kernels::permute_plan(
      {.ids = op.ids, .starts = starts, .positions = dispatch.positions, .experts_per_group = local_experts},
      queue);
  const View<std::int32_t, 1, Space::host> begins = op.staging.template make<std::int32_t>(degree + 1);
  const View<std::int32_t, 1, Space::host> counts = op.staging.template make<std::int32_t>(experts);
  download<std::int32_t>(starts, begins, queue);
  download<std::int32_t>(op.counts, counts, queue);
  exchange.wait({Axis::expert, op.name}, queue);
  std::vector<Load> loads(static_cast<std::size_t>(degree));
  for (std::int64_t i = 0; i < degree; ++i) {
    const std::int32_t* block = counts.data + i * local_experts;
    loads[std::size_t(i)] = {begins(i + 1) - begins(i),
                             std::accumulate(block, block + local_experts, std::int64_t{0})};
  }
  return loads;
}

/// The rows of this rank's own block of the tokens here, padding included.
template <class T, Space S>
View<T, 2, S> own_block(const Dispatch<S>& dispatch, View<T, 2, S> here) {
  return here.slice(dispatch.own_block * dispatch.block, dispatch.block);
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
  Dispatch<S> dispatch;
  const std::vector<Load> leaving = plan_leaving(exchange, op, dispatch, queue);
  const std::vector<Load> arriving = swap_loads(exchange, {Axis::expert, op.name}, leaving);
  for (const Load& load : leaving) dispatch.sent_rows.push_back(load.rows);
  Load own;
  for (const Load& load : arriving) {
    dispatch.received_rows.push_back(load.rows);
    own.rows += load.rows, own.assignments += load.assignments;
  }

  dispatch.blocks = exchange.mesh().degree(Axis::expert_tensor);
  dispatch.own_block = exchange.mesh().index(Axis::expert_tensor);
  const std::vector<Load> same(std::size_t(dispatch.blocks), own);
  for (const Load& load : swap_loads(exchange, {Axis::expert_tensor, op.name}, same)) {
    dispatch.block = std::max(dispatch.block, load.rows);
    dispatch.assignments += load.assignments;
  }
  return dispatch;
}

template <class T, Space S>
void dispatch_rows(Exchange<S>& exchange, const MoveRows<T, S>& op, Arena<S>& workspace, Queue<S> queue) {
  const Dispatch<S>& dispatch = op.dispatch;
  const ArenaScope scope(workspace);
  const View<T, 2, S> own = own_block(dispatch, op.to);
  const View<T, 2, S> arriving = own.slice(0, dispatch.received());
  const bool travels = exchange.mesh().degree(Axis::expert) > 1;
  const View<T, 2, S> leaving =
      travels ? workspace.template make<T>(dispatch.sent(), op.from.shape[1]) : arriving;
  kernels::spread_rows<T>({.x = op.from, .index = dispatch.positions, .y = leaving}, queue);
  if (travels)
    exchange.template all_to_all<T>({Axis::expert, op.name}, {leaving, dispatch.sent_rows},
                                    {arriving, dispatch.received_rows}, queue);
  if (dispatch.blocks > 1)
    exchange.template all_gather<T>({Axis::expert_tensor, op.name}, own.flat(), op.to.flat(), queue);
}

template <class T, Space S>
void combine_rows(Exchange<S>& exchange, const MoveRows<T, S>& op, Arena<S>& workspace, Queue<S> queue) {
  const Dispatch<S>& dispatch = op.dispatch;
  const ArenaScope scope(workspace);
  View<const T, 2, S> rows = op.from;
  if (dispatch.blocks > 1) {
    const View<T, 2, S> own = workspace.template make<T>(dispatch.block, op.from.shape[1]);
    exchange.template reduce_scatter<T>({Axis::expert_tensor, op.name}, op.from.flat(), own.flat(), queue);
    rows = own;
  }
  rows = rows.slice(0, dispatch.received());
  if (exchange.mesh().degree(Axis::expert) > 1) {
    const View<T, 2, S> back = workspace.template make<T>(dispatch.sent(), op.from.shape[1]);
    exchange.template all_to_all<T>({Axis::expert, op.name}, {rows, dispatch.received_rows},
                                    {back, dispatch.sent_rows}, queue);
    rows = back;
  }
  kernels::gather_sum<T>({.x = rows, .index = dispatch.positions, .y = op.to}, queue);
}

#define INSTANTIATE_DISPATCH(T, S) \
  template void dispatch_rows(Exchange<S>&, const MoveRows<T, S>&, Arena<S>&, Queue<S>);
#define INSTANTIATE_MOVES(T, S) \
  INSTANTIATE_DISPATCH(T, S)    \
  template void combine_rows(Exchange<S>&, const MoveRows<T, S>&, Arena<S>&, Queue<S>);
#define INSTANTIATE(S)                                                                \
  template struct Dispatch<S>;                                                        \
  template Dispatch<S> plan_dispatch(Exchange<S>&, const PlanDispatch<S>&, Queue<S>); \
  INSTANTIATE_DISPATCH(std::int32_t, S)                                               \
  INSTANTIATE_MOVES(float, S)
MOEBIUS_EACH_SPACE(INSTANTIATE)
#if MOEBIUS_CUDA
INSTANTIATE_MOVES(bf16, Space::device)
#endif

}  // namespace moebius::parallel
