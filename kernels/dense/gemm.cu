#include <algorithm>

#include "base/math.h"
#include "kernels/dense/device/blas.h"
#include "kernels/dense/gemm.h"
#include "kernels/device/check.h"
#include "kernels/device/lanes.cuh"

namespace moebius::kernels {
namespace {

constexpr int kThreads = 256;

/// c = beta * c, for products of no depth. beta = 0: c is not read.
template <class Out>
__global__ void scale_kernel(const Matrix<Out, Space::device> c, float beta) {
  const std::int64_t count = c.rows * c.columns, stride = std::int64_t(gridDim.x) * kThreads;
  for (std::int64_t i = std::int64_t(blockIdx.x) * kThreads + threadIdx.x; i < count; i += stride) {
    Out& at = c(i / c.columns, i % c.columns);
    at = from_float<Out>(beta == 0 ? 0.0f : beta * to_float(at));
  }
}

template <class T>
constexpr cudaDataType_t kBlasType = std::is_same_v<T, bf16> ? CUDA_R_16BF : CUDA_R_32F;

/// A single row may have any stride.
template <class T>
std::int64_t blas_stride(const Matrix<T, Space::device>& matrix) {
  return std::max(matrix.stride, matrix.columns);
}

}  // namespace

/// A matrix by rows is its transpose by columns, and c^T = op(b)^T op(a)^T: the factors change places.
template <class T, class Out>
void gemm(const Gemm<T, Space::device, Out>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t depth = op.transpose_a == Transpose::yes ? op.a.rows : op.a.columns;
  const std::int64_t count = op.c.rows * op.c.columns;
  if (count == 0) return;
  if (depth == 0) {
    const std::int64_t blocks = std::min<std::int64_t>(divide_up(count, kThreads), 4096);
    scale_kernel<<<unsigned(blocks), kThreads, 0, queue.stream>>>(op.c, op.beta);
    return check(cudaGetLastError());
  }
  multiply({.a = op.b.data,
            .b = op.a.data,
            .c = op.c.data,
            .m = op.c.columns,
            .n = op.c.rows,
            .k = depth,
            .a_stride = blas_stride(op.b),
            .b_stride = blas_stride(op.a),
            .c_stride = blas_stride(op.c),
            .transpose_a = op.transpose_b,
            .transpose_b = op.transpose_a,
            .factor_type = kBlasType<T>,
            .result_type = kBlasType<Out>,
            .alpha = op.alpha,
            .beta = op.beta},
           queue);
}

template void gemm(const Gemm<float, Space::device, float>&, Queue<Space::device>);
template void gemm(const Gemm<bf16, Space::device, bf16>&, Queue<Space::device>);
template void gemm(const Gemm<bf16, Space::device, float>&, Queue<Space::device>);

}  // namespace moebius::kernels
