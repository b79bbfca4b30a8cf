#pragma once
#include "base/math.h"
#include "kernels/device/check.h"
#include "kernels/device/lanes.cuh"
#include "kernels/into.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// The second half of sums over rows: blocks leave partial sums in scratch, which are added here in a fixed
/// order.
namespace moebius::kernels {

/// Sums of the first `split` columns go to first, the others to second. A null pointer: not wanted.
template <class G>
struct ColumnSums {
  G* first = nullptr;
  G* second = nullptr;
  std::int64_t split = 0;
  Into into = Into::add;
};

inline constexpr int kSumColumns = 32;  // a block sums so many, with a warp for every row of 32

template <class G>
__global__ void __launch_bounds__(1024) sum_partials_kernel(const float* partials, std::int64_t rows,
                                                            std::int64_t columns, const ColumnSums<G> to) {
  __shared__ float tile[32][kSumColumns + 1];
  const std::int64_t begin = std::int64_t{blockIdx.x} * kSumColumns;
  const std::int64_t c = begin + threadIdx.x;
  float sum = 0;
  if (c < columns) {
#pragma unroll 8
    for (std::int64_t r = threadIdx.y; r < rows; r += 32) sum += partials[r * columns + c];
  }
  tile[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  sum = warp_sum(tile[threadIdx.x][threadIdx.y]);  // a warp now has a column
  const std::int64_t column = begin + threadIdx.y;
  if (threadIdx.x != 0 || column >= columns) return;
  G* const base = column < to.split ? to.first : to.second;
  if (base == nullptr) return;
  G* const at = base + (column < to.split ? column : column - to.split);
  *at = from_float<G>(to.into == Into::add ? to_float(*at) + sum : sum);
}

/// partials: [rows, columns], in scratch.
template <class G>
void sum_partials(View<const float, 2, Space::device> partials, const ColumnSums<G>& to,
                  Queue<Space::device> queue) {
  const auto [rows, columns] = partials.shape;
  const std::int64_t blocks = divide_up(columns, std::int64_t{kSumColumns});
  if (blocks == 0) return;
  sum_partials_kernel<<<unsigned(blocks), dim3(kSumColumns, 32), 0, queue.stream>>>(partials.data, rows,
                                                                                    columns, to);
  check(cudaGetLastError());
}

}  // namespace moebius::kernels
