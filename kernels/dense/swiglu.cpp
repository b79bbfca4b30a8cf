#include "kernels/dense/swiglu.h"

#include "kernels/numeric/exp.h"

namespace moebius::kernels {
namespace {

/// One row of the gradients; returns the gradient of the row's weight. With s = sigmoid(gate):
///
///   dgate = dy * weight * up * s * (1 + gate * (1 - s))     dup = dy * weight * gate * s
///   dweight = sum_c dy * gate * s * up
template <class T>
float backward_row(const SwigluBackward<T, Space::host>& op, std::int64_t r) {
  const std::int64_t width = op.dy.shape[1];
  const T *dy = &op.dy(r, 0), *gate = &op.gate_up(r, 0), *up = gate + width;
  T *dgate = &op.dgate_up(r, 0), *dup = dgate + width;
  const float weight = op.weights.empty() ? 1.0f : op.weights(op.weight_of(r));
  float dweight = 0;
#pragma omp simd reduction(+ : dweight)
  for (std::int64_t c = 0; c < width; ++c) {
    const float g = float(gate[c]), u = float(up[c]), d = float(dy[c]);
    const float s = sigmoid(g);
    dweight += d * (g * s) * u;
    dgate[c] = T(d * weight * u * s * (1 + g * (1 - s)));
    dup[c] = T(d * weight * (g * s));
  }
  return dweight;
}

}  // namespace

template <class T>
void swiglu_forward(const SwigluForward<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const std::int64_t rows = op.y.shape[0], width = op.y.shape[1];
#pragma omp parallel for schedule(static) if (rows > 8)
  for (std::int64_t r = 0; r < rows; ++r) {
    const T *gate = &op.gate_up(r, 0), *up = gate + width;
    T* y = &op.y(r, 0);
    const float weight = op.weights.empty() ? 1.0f : op.weights(op.weight_of(r));
#pragma omp simd
    for (std::int64_t c = 0; c < width; ++c) y[c] = T(float(T(silu(float(gate[c])))) * float(up[c]) * weight);
  }
}

template <class T>
void swiglu_backward(const SwigluBackward<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const std::int64_t rows = op.dy.shape[0];
#pragma omp parallel for schedule(static) if (rows > 8)
  for (std::int64_t r = 0; r < rows; ++r) {
    const float dweight = backward_row(op, r);
    if (!op.weights.empty()) op.dweights(op.weight_of(r)) = dweight;
  }
}

template void swiglu_forward(const SwigluForward<float, Space::host>&, Queue<Space::host>);
template void swiglu_forward(const SwigluForward<bf16, Space::host>&, Queue<Space::host>);
template void swiglu_backward(const SwigluBackward<float, Space::host>&, Queue<Space::host>);
template void swiglu_backward(const SwigluBackward<bf16, Space::host>&, Queue<Space::host>);

}  // namespace moebius::kernels
