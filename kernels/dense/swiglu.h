#pragma once
#include "base/bf16.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// The gated activation of an MLP (Shazeer 2020, arXiv:2002.05202) over the output of one fused projection:
///
///   y[r,c] = silu(gate[r,c]) * up[r,c] * row_weight[r]       silu(g) = g / (1 + exp(-g))
///
/// gate is the first half of the columns of gate_up, up the second. row_weight is the routing weight of an
/// expert's row: the down projection is linear, so the weight may be applied before it, where rows are read
/// anyway. Empty: 1.
namespace moebius::kernels {

template <class T, Space S>
struct SwigluForward {
  View<const T, 2, S> gate_up;         // [rows, 2 * width]
  View<const float, 1, S> row_weight;  // [rows], or empty
  View<T, 2, S> y;                     // [rows, width]
};

template <class T, Space S>
struct SwigluBackward {
  View<const T, 2, S> dy;              // [rows, width]
  View<const T, 2, S> gate_up;         // [rows, 2 * width]
  View<const float, 1, S> row_weight;  // [rows], or empty
  View<T, 2, S> dgate_up;              // [rows, 2 * width]; overwritten; may be gate_up
  View<float, 1, S> drow_weight;       // [rows]; overwritten; empty without row_weight
};

template <class T>
void swiglu_forward(const SwigluForward<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void swiglu_forward(const SwigluForward<T, Space::device>&, Queue<Space::device>);
template <class T>
void swiglu_backward(const SwigluBackward<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void swiglu_backward(const SwigluBackward<T, Space::device>&, Queue<Space::device>);

template <class T, Space S>
void expect_shapes(const SwigluForward<T, S>& op) {
  const auto [rows, width] = op.y.shape;
  expect_shape("swiglu.gate_up", op.gate_up, {rows, 2 * width});
  if (!op.row_weight.empty()) expect_shape("swiglu.row_weight", op.row_weight, {rows});
}

template <class T, Space S>
void expect_shapes(const SwigluBackward<T, S>& op) {
  const auto [rows, width] = op.dy.shape;
  expect_shape("swiglu.gate_up", op.gate_up, {rows, 2 * width});
  expect_shape("swiglu.dgate_up", op.dgate_up, {rows, 2 * width});
  if (op.row_weight.empty()) return;
  expect_shape("swiglu.row_weight", op.row_weight, {rows});
  expect_shape("swiglu.drow_weight", op.drow_weight, {rows});
}

}  // namespace moebius::kernels
