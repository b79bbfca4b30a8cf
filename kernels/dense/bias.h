#pragma once
#include "base/bf16.h"
#include "kernels/into.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// The bias of a linear layer:  y[r,c] += bias[c],  and its gradient  dbias[c] (+)= sum_r dy[r,c].
/// G is the type that gradients of weights are kept in.
namespace moebius::kernels {

template <class T, Space S>
struct BiasForward {
  View<const T, 1, S> bias;  // [columns]
  Matrix<T, S> y;            // [rows, columns]; in place
};

template <class T, Space S, class G = float>
struct BiasBackward {
  Matrix<const T, S> dy;  // [rows, columns]
  View<G, 1, S> dbias;    // [columns]
  Into into = Into::add;  // dbias
};

template <class T>
void bias_forward(const BiasForward<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void bias_forward(const BiasForward<T, Space::device>&, Queue<Space::device>);
/// Summed over blocks of 64 rows, then over the blocks in order.
template <class T>
void bias_backward(const BiasBackward<T, Space::host>&, Queue<Space::host> = {});
template <class T, class G>
void bias_backward(const BiasBackward<T, Space::device, G>&, Queue<Space::device>);

template <class T, Space S>
void expect_shapes(const BiasForward<T, S>& op) {
  expect_shape("bias.bias", op.bias, {op.y.columns});
}

template <class T, Space S, class G>
void expect_shapes(const BiasBackward<T, S, G>& op) {
  expect_shape("bias.dbias", op.dbias, {op.dy.columns});
}

}  // namespace moebius::kernels
