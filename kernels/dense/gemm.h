#pragma once
#include "base/bf16.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// c = alpha * op(a) * op(b) + beta * c, where op transposes or not. T is the type of the inputs, Out of c:
/// Gemm<T, S> for activations, Gemm<T, S, float> for gradients of weights (beta = 1: accumulated).
///
///   y = x w^T     {.a = x,  .b = w, .c = y, .transpose_b = Transpose::yes}
///   dx = dy w     {.a = dy, .b = w, .c = dx}
///   dw += dy^T x  {.a = dy, .b = x, .c = dw, .transpose_a = Transpose::yes, .beta = 1}
namespace moebius::kernels {

enum class Transpose : std::uint8_t { no, yes };

template <class T, Space S, class Out = T>
struct Gemm {
  Matrix<const T, S> a;  // [m, k]; stored [k, m] with transpose_a
  Matrix<const T, S> b;  // [k, n]; stored [n, k] with transpose_b
  Matrix<Out, S> c;      // [m, n]; neither a nor b
  Transpose transpose_a = Transpose::no, transpose_b = Transpose::no;
  float alpha = 1, beta = 0;  // beta = 0: c is not read
};

template <class T, class Out>
void gemm(const Gemm<T, Space::host, Out>&, Queue<Space::host> = {});
template <class T, class Out>
void gemm(const Gemm<T, Space::device, Out>&, Queue<Space::device>);

template <class T, Space S, class Out>
void expect_shapes(const Gemm<T, S, Out>& op) {
  const bool a_turned = op.transpose_a == Transpose::yes, b_turned = op.transpose_b == Transpose::yes;
  const std::int64_t m = op.c.rows, n = op.c.columns, k = a_turned ? op.a.rows : op.a.columns;
  expect_shape("gemm.a", op.a, a_turned ? std::array{k, m} : std::array{m, k});
  expect_shape("gemm.b", op.b, b_turned ? std::array{n, k} : std::array{k, n});
}

}  // namespace moebius::kernels
