#pragma once
#include "base/bf16.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// Rows in the order of tokens, rows in the order of groups of experts, and the ways between. With groups of
/// one expert this is the order that an expert's product wants; with groups of all experts of a rank, that in
/// which rows leave for other ranks.
///
/// permute_plan sorts the assignments (token, choice) by group, within a group by token, within a token by
/// choice; of a token's choices in the same group only the first has a row. On a device there are at most
/// 1024 groups. Everything else is one of three operations:
///
///   spread_rows  y[index[t,c]] = x[t]                   tokens -> groups with plan.positions
///   gather_sum   y[t] = sum_c x[index[t,c]], c rising   groups -> tokens with plan.positions; its adjoint
///   gather_rows  y[r] = x[index[r]]                     any choice of rows
///
/// An index of -1 gives a row of zeros, goes nowhere, adds nothing.
namespace moebius::kernels {

template <Space S>
struct PermutePlan {
  View<const std::int32_t, 2, S>
      ids;  // [tokens, top_k]; a token's differ; those in no group, such as -1, go nowhere
  View<std::int32_t, 1, S> starts;     // [groups + 1]; rows of group g are starts[g] .. starts[g+1]-1
  View<std::int32_t, 2, S> positions;  // [tokens, top_k]; row of this assignment, or -1
  // [room]; token * top_k + choice of each row, -1 past the last. Room for all rows, at most tokens * top_k;
  // or empty. Rows that it has no room for, which the host twin refuses, are left out.
  View<std::int32_t, 1, S> assignments;
  std::int64_t first = 0;              // the first expert of group 0
  std::int64_t experts_per_group = 1;  // group g: those from first + g * experts_per_group on
};

template <class T, Space S>
struct GatherRows {
  View<const T, 2, S> x;                 // [any, width]
  View<const std::int32_t, 1, S> index;  // [rows]; rows of x, or -1
  View<T, 2, S> y;                       // [rows, width]
};

/// Rows of y that no index names are left as they are; none may be named twice.
template <class T, Space S>
struct SpreadRows {
  View<const T, 2, S> x;                 // [tokens, width]
  View<const std::int32_t, 2, S> index;  // [tokens, choices]; rows of y, or -1
  View<T, 2, S> y;                       // [any, width]
};

template <class T, Space S>
struct GatherSum {
  View<const T, 2, S> x;                 // [any, width]
  View<const std::int32_t, 2, S> index;  // [tokens, choices]; rows of x, or -1
  View<T, 2, S> y;                       // [tokens, width]; overwritten; summed in fp32
};

void permute_plan(const PermutePlan<Space::host>&, Queue<Space::host> = {});
void permute_plan(const PermutePlan<Space::device>&, Queue<Space::device>);
template <class T>
void gather_rows(const GatherRows<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void gather_rows(const GatherRows<T, Space::device>&, Queue<Space::device>);
template <class T>
void spread_rows(const SpreadRows<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void spread_rows(const SpreadRows<T, Space::device>&, Queue<Space::device>);
template <class T>
void gather_sum(const GatherSum<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void gather_sum(const GatherSum<T, Space::device>&, Queue<Space::device>);

template <Space S>
void expect_shapes(const PermutePlan<S>& op) {
  expect_shape("permute.positions", op.positions, op.ids.shape);
  if (op.assignments.size() > op.ids.size()) {
    expect_shape("permute.assignments", op.assignments, {op.ids.size()});
  }
}

template <class T, Space S>
void expect_shapes(const GatherRows<T, S>& op) {
  expect_shape("gather_rows.y", op.y, {op.index.shape[0], op.x.shape[1]});
}

template <class T, Space S>
void expect_shapes(const SpreadRows<T, S>& op) {
  expect_shape("spread_rows.x", op.x, {op.index.shape[0], op.y.shape[1]});
}

template <class T, Space S>
void expect_shapes(const GatherSum<T, S>& op) {
  expect_shape("gather_sum.y", op.y, {op.index.shape[0], op.x.shape[1]});
}

}  // namespace moebius::kernels
