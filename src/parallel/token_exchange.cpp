#include "parallel/token_exchange.h"

#include <algorithm>
#include <numeric>

#include "base/math.h"
#include "kernels/moe/permute.h"
#include "tensor/platform.h"

namespace moebius::parallel {
namespace {

/// What a rank tells another of a Dispatch: rows that it sends, or holds, and how many assignments they have
/// there.
struct Load {
  std::int64_t rows = 0, assignments = 0;
};
/// Of every Dispatch, in order, for, or from, each index of an axis.
using Loads = std::vector<std::vector<Load>>;

std::int64_t sum(const std::vector<std::int64_t>& values) {
  return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

/// loads[i] goes to index i of the axis; returns what comes from each.
template <Space S>
Loads swap_loads(Exchange<S>& exchange, Call call, const Loads& loads) {
  std::vector<std::int64_t> sent;
  for (const std::vector<Load>& to_one : loads) {
    for (const Load& load : to_one) sent.insert(sent.end(), {load.rows, load.assignments});
  }
  std::vector<std::int64_t> received(sent.size());
  exchange.swap_counts(call, sent, received);
  Loads answer = loads;
  auto next = received.begin();
  for (std::vector<Load>& from_one : answer) {
    for (Load& load : from_one) load.rows = *next++, load.assignments = *next++;
  }
  return answer;
}

/// What the device has counted, on its way to the host.
struct StagedCounts {
  View<std::int32_t, 1, Space::host> begins;  // [degree + 1]; rows for each index
  View<std::int32_t, 1, Space::host> counts;  // [experts]
  std::int64_t local_experts;                 // of an index

  [[nodiscard]] Load load_for(std::int64_t index) const {
    const std::int32_t* block = counts.data + index * local_experts;
    return {begins(index + 1) - begins(index),
            std::accumulate(block, block + local_experts, std::int64_t{0})};
  }
};

/// Fills in dispatch.positions.
template <Space S>
StagedCounts plan_leaving(std::int64_t degree, const RoutedTokens<S>& tokens, const PlanDispatch<S>& op,
                          Dispatch<S>& dispatch, Queue<S> queue) {
  const std::int64_t experts = tokens.counts.size(), local_experts = divide_exactly(experts, degree);
  dispatch.positions = op.kept.template make<std::int32_t>(tokens.ids.shape);
  const ArenaScope scope(op.kept);
  const View<std::int32_t, 1, S> starts = op.kept.template make<std::int32_t>(degree + 1);
  kernels::permute_plan({.ids = tokens.ids,
                         .starts = starts,
                         .positions = dispatch.positions,
                         .experts_per_group = local_experts},
                        queue);
  const StagedCounts staged{op.staging.template make<std::int32_t>(degree + 1),
                            op.staging.template make<std::int32_t>(experts), local_experts};
  download<std::int32_t>(starts, staged.begins, queue);
  download<std::int32_t>(tokens.counts, staged.counts, queue);
  return staged;
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
Dispatches<S> plan_dispatch(Exchange<S>& exchange, const PlanDispatch<S>& op, Queue<S> queue) {
  const Mesh& mesh = exchange.mesh();
  Dispatches<S> dispatches(op.tokens.size());
  std::vector<StagedCounts> staged;
  staged.reserve(op.tokens.size());
  for (std::size_t d = 0; d < dispatches.size(); ++d) {
    staged.push_back(plan_leaving(mesh.degree(Axis::expert), op.tokens[d], op, dispatches[d], queue));
  }
  exchange.wait({Axis::expert, op.name}, queue);

  Loads leaving(std::size_t(mesh.degree(Axis::expert)));
  for (std::size_t d = 0; d < dispatches.size(); ++d) {
    for (std::size_t i = 0; i < leaving.size(); ++i) {
      leaving[i].push_back(staged[d].load_for(std::int64_t(i)));
      dispatches[d].sent_rows.push_back(leaving[i][d].rows);
    }
  }
  std::vector<Load> own(dispatches.size());
  for (const std::vector<Load>& from_one : swap_loads(exchange, {Axis::expert, op.name}, leaving)) {
    for (std::size_t d = 0; d < own.size(); ++d) {
      dispatches[d].received_rows.push_back(from_one[d].rows);
      own[d].rows += from_one[d].rows, own[d].assignments += from_one[d].assignments;
    }
  }
  const Loads same(std::size_t(mesh.degree(Axis::expert_tensor)), own);
  for (const std::vector<Load>& of_one : swap_loads(exchange, {Axis::expert_tensor, op.name}, same)) {
    for (std::size_t d = 0; d < own.size(); ++d) {
      dispatches[d].block = std::max(dispatches[d].block, of_one[d].rows);
      dispatches[d].assignments += of_one[d].assignments;
    }
  }
  for (Dispatch<S>& dispatch : dispatches) {
    dispatch.blocks = mesh.degree(Axis::expert_tensor);
    dispatch.own_block = mesh.index(Axis::expert_tensor);
  }
  return dispatches;
}

namespace {

/// What crosses Axis::expert.
template <class T, Space S>
struct Crossing {
  RowBlocks<const T, S> send;
  RowBlocks<T, S> receive;
};

template <class T, Space S>
Crossing<T, S> begin_dispatch(Exchange<S>& exchange, const MoveRows<T, S>& op, Arena<S>& workspace,
                              Queue<S> queue) {
  const Dispatch<S>& dispatch = op.dispatch;
  const View<T, 2, S> arriving = own_block(dispatch, op.to).slice(0, dispatch.received());
  const View<T, 2, S> leaving = exchange.mesh().degree(Axis::expert) == 1
                                    ? arriving
                                    : workspace.template make<T>(dispatch.sent(), op.from.shape[1]);
  kernels::spread_rows<T>({.x = op.from, .index = dispatch.positions, .y = leaving}, queue);
  return {{leaving, dispatch.sent_rows}, {arriving, dispatch.received_rows}};
}

template <class T, Space S>
void end_dispatch(Exchange<S>& exchange, const MoveRows<T, S>& op, Queue<S> queue) {
  if (op.dispatch.blocks == 1) return;
  exchange.template all_gather<T>({Axis::expert_tensor, op.name}, own_block(op.dispatch, op.to).flat(),
                                  op.to.flat(), queue);
}

template <class T, Space S>
Crossing<T, S> begin_combine(Exchange<S>& exchange, const MoveRows<T, S>& op, Arena<S>& workspace,
                             Queue<S> queue) {
  const Dispatch<S>& dispatch = op.dispatch;
  View<const T, 2, S> rows = op.from;
  if (dispatch.blocks > 1) {
    const View<T, 2, S> own = workspace.template make<T>(dispatch.block, op.from.shape[1]);
    exchange.template reduce_scatter<T>({Axis::expert_tensor, op.name}, op.from.flat(), own.flat(), queue);
    rows = own;
  }
  rows = rows.slice(0, dispatch.received());
  if (exchange.mesh().degree(Axis::expert) == 1)
    return {{rows, dispatch.received_rows}, {{}, dispatch.sent_rows}};
  return {{rows, dispatch.received_rows},
          {workspace.template make<T>(dispatch.sent(), op.from.shape[1]), dispatch.sent_rows}};
}

template <class T, Space S>
void end_combine(const MoveRows<T, S>& op, View<const T, 2, S> back, Queue<S> queue) {
  kernels::gather_sum<T>({.x = back, .index = op.dispatch.positions, .y = op.to}, queue);
}

}  // namespace

template <class T, Space S>
void dispatch_rows(Exchange<S>& exchange, const MoveRows<T, S>& op, Arena<S>& workspace, Queue<S> queue) {
  const ArenaScope scope(workspace);
  const Crossing<T, S> crossing = begin_dispatch(exchange, op, workspace, queue);
  if (exchange.mesh().degree(Axis::expert) > 1)
    exchange.template all_to_all<T>({Axis::expert, op.name}, crossing.send, crossing.receive, queue);
  end_dispatch(exchange, op, queue);
}

template <class T, Space S>
void combine_rows(Exchange<S>& exchange, const MoveRows<T, S>& op, Arena<S>& workspace, Queue<S> queue) {
  const ArenaScope scope(workspace);
  const Crossing<T, S> crossing = begin_combine(exchange, op, workspace, queue);
  if (exchange.mesh().degree(Axis::expert) == 1) return end_combine(op, crossing.send.rows, queue);
  exchange.template all_to_all<T>({Axis::expert, op.name}, crossing.send, crossing.receive, queue);
  end_combine<T, S>(op, crossing.receive.rows, queue);
}

template <class T, Space S>
StartedDispatch<T, S>::StartedDispatch(Exchange<S>& exchange, const MoveRows<T, S>& op, Arena<S>& workspace,
                                       Queue<S> queue)
    : exchange_(exchange), op_(op) {
  const Crossing<T, S> crossing = begin_dispatch(exchange, op, workspace, queue);
  if (exchange.mesh().degree(Axis::expert) > 1)
    crossing_ = exchange.template start_all_to_all<T>({Axis::expert, op.name}, crossing.send,
                                                      crossing.receive, queue);
}
template <class T, Space S>
void StartedDispatch<T, S>::finish(Queue<S> queue) {
  crossing_.wait(queue);
  end_dispatch(exchange_, op_, queue);
}

template <class T, Space S>
StartedCombine<T, S>::StartedCombine(Exchange<S>& exchange, const MoveRows<T, S>& op, Arena<S>& workspace,
                                     Queue<S> queue)
    : op_(op) {
  const Crossing<T, S> crossing = begin_combine(exchange, op, workspace, queue);
  back_ = crossing.send.rows;
  if (exchange.mesh().degree(Axis::expert) == 1) return;
  back_ = crossing.receive.rows;
  crossing_ =
      exchange.template start_all_to_all<T>({Axis::expert, op.name}, crossing.send, crossing.receive, queue);
}
template <class T, Space S>
void StartedCombine<T, S>::finish(Queue<S> queue) {
  crossing_.wait(queue);
  end_combine(op_, back_, queue);
}

#define INSTANTIATE_DISPATCH(T, S) \
  template void dispatch_rows(Exchange<S>&, const MoveRows<T, S>&, Arena<S>&, Queue<S>);
#define INSTANTIATE_MOVES(T, S)                                                         \
  INSTANTIATE_DISPATCH(T, S)                                                            \
  template void combine_rows(Exchange<S>&, const MoveRows<T, S>&, Arena<S>&, Queue<S>); \
  template class StartedDispatch<T, S>;                                                 \
  template class StartedCombine<T, S>;
#define INSTANTIATE(S)                                                                  \
  template struct Dispatch<S>;                                                          \
  template Dispatches<S> plan_dispatch(Exchange<S>&, const PlanDispatch<S>&, Queue<S>); \
  INSTANTIATE_DISPATCH(std::int32_t, S)                                                 \
  INSTANTIATE_MOVES(float, S)
MOEBIUS_EACH_SPACE(INSTANTIATE)
#if MOEBIUS_CUDA
INSTANTIATE_MOVES(bf16, Space::device)
#endif

}  // namespace moebius::parallel
