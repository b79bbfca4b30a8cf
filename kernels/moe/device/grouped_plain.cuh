#pragma once
#include "kernels/device/lanes.cuh"
#include "kernels/into.h"
#include "kernels/moe/grouped_gemm.h"

/// The products of all groups for every shape and type, summed in fp32 with multiply-adds on plain cores: for
/// fp32, and for widths that the tensor cores' kernel does not take. A block computes 64 x 64 of a result.
namespace moebius::kernels::plain {

inline constexpr int kTile = 64, kDepth = 16, kThreads = 256;

/// A factor of a product: element (i, k) is data[i * stride + k * depth_stride] for i < extent.
template <class T>
struct Factor {
  const T* data;
  std::int64_t extent, stride, depth_stride;
};

/// What a thread adds up: rows 4 * (thread / 16) + i, columns 4 * (thread % 16) + j.
struct Sums {
  float value[4][4];
};

/// kTile x kDepth of a factor into shared memory as [k][i], zeros outside; neighbours in memory by
/// neighbours.
template <class T>
__device__ void load_tile(const Factor<T>& factor, std::int64_t first, std::int64_t k, std::int64_t depth,
                          float (&tile)[kDepth][kTile + 4]) {
#pragma unroll
  for (int part = 0; part < kTile * kDepth / kThreads; ++part) {
    const int at = int(threadIdx.x) + part * kThreads;
    const int i = factor.depth_stride == 1 ? at / kDepth : at % kTile;
    const int step = factor.depth_stride == 1 ? at % kDepth : at / kTile;
    const bool exists = first + i < factor.extent && k + step < depth;
    const std::int64_t offset = (first + i) * factor.stride + (k + step) * factor.depth_stride;
    tile[step][i] = exists ? to_float(factor.data[offset]) : 0.0f;
  }
}

/// sum_k a(row + i, k) b(column + j, k), in the order of k. All threads of the block.
template <class T>
__device__ Sums multiply(const Factor<T>& a, std::int64_t row, const Factor<T>& b, std::int64_t column,
                         std::int64_t depth) {
  __shared__ float left[kDepth][kTile + 4], right[kDepth][kTile + 4];
  const int row_in_tile = int(threadIdx.x) / 16 * 4, column_in_tile = int(threadIdx.x) % 16 * 4;
  Sums sums{};
  for (std::int64_t k = 0; k < depth; k += kDepth) {
    load_tile(a, row, k, depth, left);
    load_tile(b, column, k, depth, right);
    __syncthreads();
#pragma unroll
    for (int step = 0; step < kDepth; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j)
          sums.value[i][j] += left[step][row_in_tile + i] * right[step][column_in_tile + j];
      }
    }
    __syncthreads();
  }
  return sums;
}

/// The part of a result that exists in a tile beginning at `row`, `column`.
template <Into into, class Out>
__device__ void store(const Sums& sums, Out* result, std::int64_t rows, std::int64_t columns,
                      std::int64_t row, std::int64_t column) {
  const std::int64_t first_row = row + threadIdx.x / 16 * 4, first_column = column + threadIdx.x % 16 * 4;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      if (first_row + i >= rows || first_column + j >= columns) continue;
      Out& at = result[(first_row + i) * columns + first_column + j];
      at = from_float<Out>(into == Into::add ? to_float(at) + sums.value[i][j] : sums.value[i][j]);
    }
  }
}

/// Which group the tile of rows `index` belongs to (groups are cut one by one), and its first row in it;
/// group -1 behind the last.
struct RowTile {
  std::int64_t group, row;
};
__device__ inline RowTile row_tile(const View<const std::int32_t, 1, Space::device>& starts,
                                   std::int64_t index) {
  for (std::int64_t g = 0; g + 1 < starts.shape[0]; ++g) {
    const std::int64_t tiles = (starts(g + 1) - starts(g) + kTile - 1) / kTile;
    if (index < tiles) return {g, index * kTile};
    index -= tiles;
  }
  return {-1, 0};
}

/// y[r] = x[r] w[g]^T with w(g, j, k) at g * w_group + j * w_stride + k * w_depth_stride: forward, and the
/// input gradient with the roles of w's dims exchanged.
template <class T>
struct RowProduct {
  View<const T, 2, Space::device> x;  // [rows, depth]
  const T* w;
  std::int64_t w_group, w_stride, w_depth_stride;
  View<const std::int32_t, 1, Space::device> starts;
  View<T, 2, Space::device> y;  // [rows, columns]
};

/// Blocks [tiles of rows, at least as many as groups can have, tiles of columns].
template <class T>
__global__ void __launch_bounds__(kThreads) row_product(const RowProduct<T> op) {
  const RowTile tile = row_tile(op.starts, blockIdx.x);
  if (tile.group < 0) return;
  const std::int64_t start = op.starts(tile.group), count = op.starts(tile.group + 1) - start;
  const std::int64_t depth = op.x.shape[1], columns = op.y.shape[1],
                     column = std::int64_t(blockIdx.y) * kTile;
  const Factor<T> a{op.x.data + start * depth, count, depth, 1};
  const Factor<T> b{op.w + tile.group * op.w_group, columns, op.w_stride, op.w_depth_stride};
  const Sums sums = multiply(a, tile.row, b, column, depth);
  store<Into::overwrite>(sums, op.y.data + start * columns, count, columns, tile.row, column);
}

/// Blocks [tiles of columns, tiles of rows of one gradient, groups].
template <Into into, class T, class G>
__global__ void __launch_bounds__(kThreads)
    weight_gradient(const GroupedGemmWeightGradient<T, Space::device, G> op) {
  const std::int64_t group = blockIdx.z, start = op.starts(group), count = op.starts(group + 1) - start;
  if (into == Into::add && count == 0) return;
  const std::int64_t out = op.dw.shape[1], in = op.dw.shape[2];
  const std::int64_t row = std::int64_t(blockIdx.y) * kTile, column = std::int64_t(blockIdx.x) * kTile;
  const Factor<T> a{op.dy.data + start * out, out, 1, out}, b{op.x.data + start * in, in, 1, in};
  const Sums sums = multiply(a, row, b, column, count);
  store<into>(sums, op.dw.data + group * out * in, out, in, row, column);
}

}  // namespace moebius::kernels::plain
