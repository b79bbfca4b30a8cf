#include "base/math.h"
#include "kernels/device/check.h"
#include "kernels/device/chunk.cuh"
#include "kernels/update/block_copy.h"

namespace moebius::kernels {
namespace {

constexpr int kRows = 8;  // of a block, a warp each

template <int Width, class From, class To>
__global__ void __launch_bounds__(32 * kRows) copy_kernel(const BlockCopy<From, To, Space::device> op) {
  const std::int64_t row = std::int64_t{blockIdx.x} * kRows + threadIdx.x / 32;
  if (row >= op.x.rows) return;
  for (std::int64_t c = threadIdx.x % 32 * Width; c < op.x.columns; c += 32 * Width) {
    float x[Width], y[Width];
    load_floats<Width>(op.x.row(row) + c, x);
    if (op.into == Into::add) {
      load_floats<Width>(op.y.row(row) + c, y);
#pragma unroll
      for (int i = 0; i < Width; ++i) x[i] += y[i];
    }
    store_floats<Width>(op.y.row(row) + c, x);
  }
}

template <class T>
bool has_packs(const Matrix<T, Space::device>& matrix, int width) {
  return matrix.columns % width == 0 && matrix.stride % width == 0 && is_aligned(matrix.data);
}

}  // namespace

template <class From, class To>
void block_copy(const BlockCopy<From, To, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t blocks = op.x.columns == 0 ? 0 : divide_up(op.x.rows, kRows);
  if (blocks == 0) return;
  constexpr int kWidth = std::max(kPack<From>, kPack<To>);
  const bool packed = has_packs(op.x, kWidth) && has_packs(op.y, kWidth);
  const auto kernel = packed ? copy_kernel<kWidth, From, To> : copy_kernel<1, From, To>;
  kernel<<<unsigned(blocks), 32 * kRows, 0, queue.stream>>>(op);
  check(cudaGetLastError());
}

#define MOEBIUS_INSTANTIATE(From, To) \
  template void block_copy(const BlockCopy<From, To, Space::device>&, Queue<Space::device>);
MOEBIUS_INSTANTIATE(float, float)
MOEBIUS_INSTANTIATE(float, bf16)
MOEBIUS_INSTANTIATE(bf16, float)
MOEBIUS_INSTANTIATE(bf16, bf16)

}  // namespace moebius::kernels
