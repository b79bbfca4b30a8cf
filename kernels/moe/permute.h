#pragma once
#include "base/bf16.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// Rows in the order of tokens, rows in the order of experts, and the ways between.
///
/// permute_plan sorts the assignments (token, choice) by expert, within an expert by token, within a token by
/// choice; on a device there are at most 1024 experts. Everything else is one of three operations:
///
///   gather_rows  y[r] = x[index[r]]                     tokens -> expert order with plan.sources
///   spread_rows  y[index[t,c]] = x[t]                   the same with plan.positions
///   gather_sum   y[t] = sum_c x[index[t,c]], c rising   expert order -> tokens with plan.positions
///
/// The last is the others' adjoint. spread_rows reads a row of x once, where gather_rows reads it top_k times
/// (from memory: a token's experts are far apart). An index of -1 gives a row of zeros, goes nowhere, adds
/// nothing. One column wide they also carry routing weights: gather_rows with plan.assignments from
/// [tokens * top_k, 1] to expert order, with positions.flat() back.
namespace moebius::kernels {

template <Space S>
struct PermutePlan {
  View<const std::int32_t, 2, S> ids;    // [tokens, top_k]; in [0, experts), or -1: goes nowhere
  View<std::int32_t, 1, S> starts;       // [experts + 1]; rows of expert e are starts[e] .. starts[e+1]-1
  View<std::int32_t, 2, S> positions;    // [tokens, top_k]; row of this assignment, or -1
  View<std::int32_t, 1, S> sources;      // [tokens * top_k]; token of each row, -1 past starts[experts]
  View<std::int32_t, 1, S> assignments;  // [tokens * top_k]; token * top_k + choice of each row, or -1
};

/// Rows lie in blocks, those of part 0 first, in each part those of group 0 first: what arrives from other
/// ranks, each of which has sorted by expert. Gives the order in which each group is contiguous, parts in
/// order.
template <Space S>
struct RegroupPlan {
  View<const std::int32_t, 2, S> counts;  // [parts, groups]; rows of each block
  View<std::int32_t, 1, S> starts;        // [groups + 1]; of the groups in the new order
  View<std::int32_t, 1, S> sources;       // [rows]; old row of each new row, -1 past the last
  View<std::int32_t, 1, S> positions;     // [rows]; new row of each old row, -1 past the last
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
  View<const float, 2, S> weights;       // [tokens, choices], or empty
  View<float, 1, S> row_weight;          // [rows of y]; row_weight[index[t,c]] = weights[t,c]; empty without
};

template <class T, Space S>
struct GatherSum {
  View<const T, 2, S> x;                 // [any, width]
  View<const std::int32_t, 2, S> index;  // [tokens, choices]; rows of x, or -1
  View<T, 2, S> y;                       // [tokens, width]; overwritten; summed in fp32
};

void permute_plan(const PermutePlan<Space::host>&, Queue<Space::host> = {});
void permute_plan(const PermutePlan<Space::device>&, Queue<Space::device>);
void regroup_plan(const RegroupPlan<Space::host>&, Queue<Space::host> = {});
void regroup_plan(const RegroupPlan<Space::device>&, Queue<Space::device>);
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
  expect_shape("permute.sources", op.sources, {op.ids.size()});
  expect_shape("permute.assignments", op.assignments, {op.ids.size()});
}

template <Space S>
void expect_shapes(const RegroupPlan<S>& op) {
  expect_shape("regroup.starts", op.starts, {op.counts.shape[1] + 1});
  expect_shape("regroup.positions", op.positions, op.sources.shape);
}

template <class T, Space S>
void expect_shapes(const GatherRows<T, S>& op) {
  expect_shape("gather_rows.y", op.y, {op.index.shape[0], op.x.shape[1]});
}

template <class T, Space S>
void expect_shapes(const SpreadRows<T, S>& op) {
  expect_shape("spread_rows.x", op.x, {op.index.shape[0], op.y.shape[1]});
  if (op.weights.empty()) return;
  expect_shape("spread_rows.weights", op.weights, op.index.shape);
  expect_shape("spread_rows.row_weight", op.row_weight, {op.y.shape[0]});
}

template <class T, Space S>
void expect_shapes(const GatherSum<T, S>& op) {
  expect_shape("gather_sum.y", op.y, {op.index.shape[0], op.x.shape[1]});
}

}  // namespace moebius::kernels
