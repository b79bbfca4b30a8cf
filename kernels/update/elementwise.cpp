#include "kernels/update/elementwise.h"

namespace moebius::kernels {
namespace {

constexpr std::int64_t kParallelCount = 16384;

}  // namespace

template <class T>
void fill(View<T, 1, Space::host> y, T value, Queue<Space::host>) {
#pragma omp parallel for simd schedule(static) if (y.shape[0] > kParallelCount)
  for (std::int64_t i = 0; i < y.shape[0]; ++i) y.data[i] = value;
}

template <class T>
void copy(View<const T, 1, Space::host> x, View<T, 1, Space::host> y, Queue<Space::host>) {
  expect_shape("copy.x", x, y.shape);
#pragma omp parallel for simd schedule(static) if (y.shape[0] > kParallelCount)
  for (std::int64_t i = 0; i < y.shape[0]; ++i) y.data[i] = x.data[i];
}

template <class T>
void scale(View<T, 1, Space::host> y, float factor, Queue<Space::host>) {
#pragma omp parallel for simd schedule(static) if (y.shape[0] > kParallelCount)
  for (std::int64_t i = 0; i < y.shape[0]; ++i) y.data[i] = T(float(y.data[i]) * factor);
}

template <class T>
void add(const Add<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
#pragma omp parallel for simd schedule(static) if (op.y.shape[0] > kParallelCount)
  for (std::int64_t i = 0; i < op.y.shape[0]; ++i) {
    op.y.data[i] = T(float(op.a.data[i]) + op.factor * float(op.b.data[i]));
  }
}

template <class From, class To>
void cast(const Cast<From, To, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
#pragma omp parallel for simd schedule(static) if (op.y.shape[0] > kParallelCount)
  for (std::int64_t i = 0; i < op.y.shape[0]; ++i) op.y.data[i] = To(float(op.x.data[i]));
}

template void fill(View<float, 1, Space::host>, float, Queue<Space::host>);
template void fill(View<bf16, 1, Space::host>, bf16, Queue<Space::host>);
template void fill(View<std::int32_t, 1, Space::host>, std::int32_t, Queue<Space::host>);
template void copy(View<const float, 1, Space::host>, View<float, 1, Space::host>, Queue<Space::host>);
template void copy(View<const bf16, 1, Space::host>, View<bf16, 1, Space::host>, Queue<Space::host>);
template void copy(View<const std::int32_t, 1, Space::host>, View<std::int32_t, 1, Space::host>,
                   Queue<Space::host>);
template void scale(View<float, 1, Space::host>, float, Queue<Space::host>);
template void scale(View<bf16, 1, Space::host>, float, Queue<Space::host>);
template void add(const Add<float, Space::host>&, Queue<Space::host>);
template void add(const Add<bf16, Space::host>&, Queue<Space::host>);
template void cast(const Cast<float, bf16, Space::host>&, Queue<Space::host>);
template void cast(const Cast<bf16, float, Space::host>&, Queue<Space::host>);
template void cast(const Cast<std::int32_t, float, Space::host>&, Queue<Space::host>);

}  // namespace moebius::kernels
