#pragma once
#include "base/bf16.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// The gated activation of an MLP (Shazeer 2020, arXiv:2002.05202) over the output of one fused projection:
///
///   y[r,c] = silu(gate[r,c]) * up[r,c] * weights[weight_of[r]]       silu(g) = g / (1 + exp(-g))
///
/// gate is the first half of the columns of gate_up, up the second. The weight of an expert's row is its
/// routing weight, which lies where the router put it: the down projection is linear, so the weight may be
/// applied before it, where rows are read anyway. Both empty: 1.
namespace moebius::kernels {

template <class T, Space S>
struct SwigluForward {
  View<const T, 2, S> gate_up;               // [rows, 2 * width]
  View<const float, 1, S> weights;           // [any], or empty
  View<const std::int32_t, 1, S> weight_of;  // [rows]; entry of weights; empty without them
  View<T, 2, S> y;                           // [rows, width]
};

template <class T, Space S>
struct SwigluBackward {
  View<const T, 2, S> dy;                    // [rows, width]
  View<const T, 2, S> gate_up;               // [rows, 2 * width]
  View<const float, 1, S> weights;           // [any], or empty
  View<const std::int32_t, 1, S> weight_of;  // [rows]; entry of weights, no two the same; empty without them
  View<T, 2, S> dgate_up;                    // [rows, 2 * width]; overwritten; may be gate_up
  View<float, 1, S> dweights;  // as weights; entries that no row has are left as they are; empty without them
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
  if (!op.weights.empty()) expect_shape("swiglu.weight_of", op.weight_of, {rows});
}

template <class T, Space S>
void expect_shapes(const SwigluBackward<T, S>& op) {
  const auto [rows, width] = op.dy.shape;
  expect_shape("swiglu.gate_up", op.gate_up, {rows, 2 * width});
  expect_shape("swiglu.dgate_up", op.dgate_up, {rows, 2 * width});
  if (op.weights.empty()) return;
  expect_shape("swiglu.weight_of", op.weight_of, {rows});
  expect_shape("swiglu.dweights", op.dweights, op.weights.shape);
}

}  // namespace moebius::kernels
