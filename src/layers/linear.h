#pragma once
#include "kernels/dense/gemm.h"
#include "kernels/into.h"

/// The three products of a linear layer with weight w [out, in].
namespace moebius::layers {

/// y [rows, out] = x [rows, in] w^T
template <class T, class Out, Space S>
void linear(Matrix<const T, S> x, Matrix<const T, S> w, Matrix<Out, S> y, Queue<S> queue) {
  kernels::gemm(kernels::Gemm<T, S, Out>{.a = x, .b = w, .c = y, .transpose_b = kernels::Transpose::yes},
                queue);
}

using kernels::Into;

/// dx [rows, in] = dy [rows, out] w, or added to dx
template <class T, Space S>
void linear_input_gradient(Matrix<const T, S> dy, Matrix<const T, S> w, Matrix<T, S> dx, Into into,
                           Queue<S> queue) {
  kernels::gemm(kernels::Gemm<T, S>{.a = dy, .b = w, .c = dx, .beta = into == Into::add ? 1.0f : 0.0f},
                queue);
}

/// dw [out, in] = dy^T [out, rows] x [rows, in], or added to dw
template <class T, class G, Space S>
[[nodiscard]] kernels::Gemm<T, S, G> weight_product(Matrix<const T, S> dy, Matrix<const T, S> x,
                                                    Matrix<G, S> dw, Into into) {
  return {.a = dy,
          .b = x,
          .c = dw,
          .transpose_a = kernels::Transpose::yes,
          .beta = into == Into::add ? 1.0f : 0.0f};
}
template <class T, class G, Space S>
void linear_weight_gradient(Matrix<const T, S> dy, Matrix<const T, S> x, Matrix<G, S> dw, Into into,
                            Queue<S> queue) {
  kernels::gemm(weight_product<T, G, S>(dy, x, dw, into), queue);
}

}  // namespace moebius::layers
