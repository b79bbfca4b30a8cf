#include "base/math.h"
#include "kernels/attention/append_rows.h"
#include "kernels/device/check.h"
#include "kernels/device/row_copy.cuh"

namespace moebius::kernels {
namespace {

constexpr int kRows = 4;  // of a block, a warp each

template <int Width, class T>
__global__ void __launch_bounds__(32 * kRows) append_kernel(const AppendRows<T, Space::device> op) {
  const std::int64_t t = std::int64_t{blockIdx.x} * kRows + threadIdx.x / 32;
  if (t >= op.x.rows || op.rows(t) < 0) return;
  copy_row<Width>(op.x.row(t), &op.cache(op.rows(t), 0), op.x.columns / Width);
}

}  // namespace

template <class T>
void append_rows(const AppendRows<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t blocks = op.x.columns == 0 ? 0 : divide_up(op.x.rows, kRows);
  if (blocks == 0) return;
  const bool packed = op.x.columns % kPack<T> == 0 && op.x.stride % kPack<T> == 0 && is_aligned(op.x.data) &&
                      is_aligned(op.cache.data);
  const auto kernel = packed ? append_kernel<kPack<T>, T> : append_kernel<1, T>;
  kernel<<<unsigned(blocks), 32 * kRows, 0, queue.stream>>>(op);
  check(cudaGetLastError());
}

template void append_rows(const AppendRows<float, Space::device>&, Queue<Space::device>);
template void append_rows(const AppendRows<bf16, Space::device>&, Queue<Space::device>);

}  // namespace moebius::kernels
