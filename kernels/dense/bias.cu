#include "kernels/dense/bias.h"
#include "kernels/device/chunk.cuh"
#include "kernels/device/column_sums.cuh"
#include "kernels/device/device.h"

/// A block has 32 chunks of a row side by side and 8 rows at a time; a thread keeps to its columns.
namespace moebius::kernels {
namespace {

constexpr int kColumns = 32, kRows = 8;
constexpr int kUnroll = 4;                // rows that a thread has in flight
constexpr std::int64_t kBlockRows = 256;  // of the rows of dy, to one partial sum

template <int Width, class T>
__global__ void __launch_bounds__(kColumns* kRows) forward_kernel(const BiasForward<T, Space::device> op) {
  const std::int64_t c = (std::int64_t{blockIdx.x} * kColumns + threadIdx.x) * Width;
  if (c >= op.y.columns) return;
  const auto bias = load_chunk<Width>(op.bias.data + c);
  const std::int64_t first = std::int64_t{blockIdx.y} * (kRows * kUnroll) + threadIdx.y;
  for (std::int64_t begin = first; begin < op.y.rows; begin += std::int64_t{gridDim.y} * (kRows * kUnroll)) {
    Chunk<T, Width> y[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (begin + u * kRows < op.y.rows) y[u] = load_chunk<Width>(op.y.row(begin + u * kRows) + c);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      float sum[Width];
#pragma unroll
      for (int i = 0; i < Width; ++i) sum[i] = to_float(y[u][i]) + to_float(bias[i]);
      if (begin + u * kRows < op.y.rows) store_chunk<Width>(op.y.row(begin + u * kRows) + c, rounded<T>(sum));
    }
  }
}

/// partials: [divide_up(rows, kBlockRows), columns].
template <int Width, class T>
__global__ void __launch_bounds__(kColumns* kRows)
    backward_kernel(const Matrix<const T, Space::device> dy, float* const partials) {
  __shared__ float sums[kRows][kColumns * Width];
  const std::int64_t begin = std::int64_t{blockIdx.x} * (kColumns * Width);
  const int lane_column = int(threadIdx.x) * Width;
  float sum[Width] = {};
  for (std::int64_t block = blockIdx.y; block < divide_up(dy.rows, kBlockRows); block += gridDim.y) {
    const std::int64_t end = min(dy.rows, (block + 1) * kBlockRows);
#pragma unroll
    for (int i = 0; i < Width; ++i) sum[i] = 0;
    if (begin + lane_column < dy.columns) {
#pragma unroll 4
      for (std::int64_t r = block * kBlockRows + threadIdx.y; r < end; r += kRows) {
        const auto chunk = load_chunk<Width>(dy.row(r) + begin + lane_column);
#pragma unroll
        for (int i = 0; i < Width; ++i) sum[i] += to_float(chunk[i]);
      }
    }
    __syncthreads();  // the last block's readers are through
#pragma unroll
    for (int i = 0; i < Width; ++i) sums[threadIdx.y][lane_column + i] = sum[i];
    __syncthreads();
    for (int c = int(threadIdx.y) * kColumns + int(threadIdx.x); c < kColumns * Width;
         c += kColumns * kRows) {
      if (begin + c >= dy.columns) continue;
      float total = 0;
#pragma unroll
      for (int row = 0; row < kRows; ++row) total += sums[row][c];
      partials[block * dy.columns + begin + c] = total;
    }
  }
}

template <class T, class S>
bool has_packs(const Matrix<S, Space::device>& matrix, const T* other) {
  return matrix.columns % kPack<T> == 0 && matrix.stride % kPack<T> == 0 && is_aligned(matrix.data) &&
         is_aligned(other);
}

/// Blocks over the columns, in chunks of Width, and over parts of `rows` rows.
dim3 grid_of(std::int64_t columns, int width, std::int64_t rows, std::int64_t rows_a_block) {
  constexpr std::int64_t kMostY = 65535;  // what a grid may have
  return {unsigned(divide_up(columns, kColumns * width)),
          unsigned(std::min(kMostY, divide_up(rows, rows_a_block)))};
}

}  // namespace

template <class T>
void bias_forward(const BiasForward<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  if (op.y.rows == 0 || op.y.columns == 0) return;
  const bool packed = has_packs(op.y, op.bias.data);
  const int width = packed ? kPack<T> : 1;
  const auto kernel = packed ? forward_kernel<kPack<T>, T> : forward_kernel<1, T>;
  kernel<<<grid_of(op.y.columns, width, op.y.rows, kRows * kUnroll), dim3(kColumns, kRows), 0,
           queue.stream>>>(op);
  check(cudaGetLastError());
}

template <class T, class G>
void bias_backward(const BiasBackward<T, Space::device, G>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t rows = op.dy.rows, columns = op.dy.columns;
  if (columns == 0 || op.dbias.empty()) return;
  const std::int64_t blocks = divide_up(rows, kBlockRows);
  auto* const partials =
      static_cast<float*>(queue.device->scratch(blocks * columns * std::int64_t(sizeof(float))));
  const bool packed = has_packs<T>(op.dy, nullptr);
  const int width = packed ? kPack<T> : 1;
  const auto kernel = packed ? backward_kernel<kPack<T>, T> : backward_kernel<1, T>;
  const dim3 grid = grid_of(columns, width, rows, kBlockRows);
  if (blocks > 0) kernel<<<grid, dim3(kColumns, kRows), 0, queue.stream>>>(op.dy, partials);
  check(cudaGetLastError());
  sum_partials<G>({partials, {blocks, columns}}, {op.dbias.data, nullptr, columns, op.into}, queue);
}

template void bias_forward(const BiasForward<float, Space::device>&, Queue<Space::device>);
template void bias_forward(const BiasForward<bf16, Space::device>&, Queue<Space::device>);
template void bias_backward(const BiasBackward<float, Space::device>&, Queue<Space::device>);
template void bias_backward(const BiasBackward<bf16, Space::device>&, Queue<Space::device>);
template void bias_backward(const BiasBackward<bf16, Space::device, bf16>&, Queue<Space::device>);

}  // namespace moebius::kernels
