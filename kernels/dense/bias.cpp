#include "kernels/dense/bias.h"

#include "kernels/numeric/column_sums.h"

namespace moebius::kernels {

template <class T>
void bias_forward(const BiasForward<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
#pragma omp parallel for schedule(static) if (op.y.rows > 16)
  for (std::int64_t r = 0; r < op.y.rows; ++r) {
    T* y = op.y.row(r);
#pragma omp simd
    for (std::int64_t c = 0; c < op.y.columns; ++c) y[c] = T(float(y[c]) + float(op.bias(c)));
  }
}

template <class T>
void bias_backward(const BiasBackward<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  add_column_sums(op.dy.rows, op.dbias, op.into, [&](std::int64_t r, float* sums) {
    if (sums == nullptr) return;
    const T* dy = op.dy.row(r);
#pragma omp simd
    for (std::int64_t c = 0; c < op.dy.columns; ++c) sums[c] += float(dy[c]);
  });
}

template void bias_forward(const BiasForward<float, Space::host>&, Queue<Space::host>);
template void bias_backward(const BiasBackward<float, Space::host>&, Queue<Space::host>);

}  // namespace moebius::kernels
