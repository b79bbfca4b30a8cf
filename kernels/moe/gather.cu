#include <algorithm>
#include <bit>

#include "base/math.h"
#include "kernels/device/check.h"
#include "kernels/moe/permute.h"
#include "kernels/numeric/raw.cuh"

namespace moebius::kernels {
namespace {

constexpr int kThreads = 256;

/// A row is the work of 2^lanes_log2 neighbouring threads of a block.
struct RowLayout {
  std::int64_t rows = 0, words = 0;  // a word is what a thread moves at once
  int lanes_log2 = 0;

  RowLayout(std::int64_t row_count, std::int64_t words_in_row, std::int64_t most_lanes)
      : rows(row_count),
        words(words_in_row),
        lanes_log2(std::bit_width(std::uint64_t(std::min(words_in_row, most_lanes)) - 1)) {}
  [[nodiscard]] unsigned blocks() const { return unsigned(divide_up(rows << lanes_log2, kThreads)); }
  [[nodiscard]] __device__ int lanes() const { return 1 << lanes_log2; }
  [[nodiscard]] __device__ int lane() const { return int(threadIdx.x) & (lanes() - 1); }
  [[nodiscard]] __device__ std::int64_t row() const {
    return (std::int64_t(blockIdx.x) * kThreads + threadIdx.x) >> lanes_log2;
  }
};

/// Copies: the numbers are not looked at.
template <class T, int N>
__global__ void __launch_bounds__(kThreads, 4)
    rows_kernel(GatherRows<T, Space::device> op, RowLayout layout) {
  constexpr int kBatch = 4;  // loads in flight
  const std::int64_t row = layout.row();
  if (row >= layout.rows) return;
  const std::int64_t source = op.index(row);
  const T* from = op.x.data + source * op.x.shape[1];
  T* to = op.y.data + row * op.y.shape[1];
  const int lanes = layout.lanes();
  for (std::int64_t begin = layout.lane(); begin < layout.words; begin += kBatch * lanes) {
    Raw<T, N> raws[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const std::int64_t word = begin + b * lanes;
      raws[b] = load_raw_if<N>(source >= 0 && word < layout.words, from + word * N);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const std::int64_t word = begin + b * lanes;
      if (word < layout.words) stream_raw(to + word * N, raws[b]);
    }
  }
}

/// Copies, one row to several.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) spread_kernel(SpreadRows<T, Space::device> op, RowLayout layout) {
  constexpr int kBatch = 8;  // rows in flight
  const std::int64_t t = layout.row();
  if (t >= layout.rows) return;
  const std::int64_t width = op.x.shape[1];
  const int choices = int(op.index.shape[1]), lanes = layout.lanes();
  const std::int32_t* index = op.index.data + t * choices;
  for (std::int64_t word = layout.lane(); word < layout.words; word += lanes) {
    const Raw<T, N> raw = load_raw<N>(op.x.data + t * width + word * N);
    for (int begin = 0; begin < choices; begin += kBatch) {
      std::int64_t rows[kBatch];
#pragma unroll
      for (int b = 0; b < kBatch; ++b) rows[b] = begin + b < choices ? index[begin + b] : -1;
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        if (rows[b] >= 0) stream_raw(op.y.data + rows[b] * width + word * N, raw);
      }
    }
  }
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads, 4) sum_kernel(GatherSum<T, Space::device> op, RowLayout layout) {
  constexpr int kBatch = 8;  // rows in flight
  const std::int64_t t = layout.row();
  if (t >= layout.rows) return;
  const std::int64_t width = op.y.shape[1];
  const int choices = int(op.index.shape[1]);
  const std::int32_t* index = op.index.data + t * choices;
  for (std::int64_t word = layout.lane(); word < layout.words; word += layout.lanes()) {
    const T* column = op.x.data + word * N;
    float sums[N] = {};
    for (int begin = 0; begin < choices; begin += kBatch) {
      std::int64_t sources[kBatch];
#pragma unroll
      for (int b = 0; b < kBatch; ++b) sources[b] = begin + b < choices ? index[begin + b] : -1;
      Raw<T, N> raws[kBatch];  // zeros where there is no row
#pragma unroll
      for (int b = 0; b < kBatch; ++b) raws[b] = load_raw_if<N>(sources[b] >= 0, column + sources[b] * width);
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
#pragma unroll
        for (int i = 0; i < N; ++i) sums[i] += raws[b].value(i);
      }
    }
    store_raw(op.y.data + t * width + word * N, to_raw<T>(sums));
  }
}

template <int N, class T>
void launch_rows(const GatherRows<T, Space::device>& op, Queue<Space::device> queue) {
  const RowLayout layout(op.y.shape[0], op.y.shape[1] / N, 32);
  rows_kernel<T, N><<<layout.blocks(), kThreads, 0, queue.stream>>>(op, layout);
}

template <int N, class T>
void launch_spread(const SpreadRows<T, Space::device>& op, Queue<Space::device> queue) {
  const RowLayout layout(op.x.shape[0], op.x.shape[1] / N, kThreads);
  spread_kernel<T, N><<<layout.blocks(), kThreads, 0, queue.stream>>>(op, layout);
}

template <int N, class T>
void launch_sum(const GatherSum<T, Space::device>& op, Queue<Space::device> queue) {
  const RowLayout layout(op.y.shape[0], op.y.shape[1] / N, kThreads);
  sum_kernel<T, N><<<layout.blocks(), kThreads, 0, queue.stream>>>(op, layout);
}

}  // namespace

template <class T>
void gather_rows(const GatherRows<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  if (op.y.empty()) return;
  if (is_packable<T>(op.y.shape[1], op.x.data, op.y.data)) {
    launch_rows<kPack<T>>(op, queue);
  } else {
    launch_rows<1>(op, queue);
  }
  check(cudaGetLastError());
}

template <class T>
void spread_rows(const SpreadRows<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  if (op.x.empty()) return;
  if (is_packable<T>(op.x.shape[1], op.x.data, op.y.data)) {
    launch_spread<kPack<T>>(op, queue);
  } else {
    launch_spread<1>(op, queue);
  }
  check(cudaGetLastError());
}

template <class T>
void gather_sum(const GatherSum<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  if (op.y.empty()) return;
  if (is_packable<T>(op.y.shape[1], op.x.data, op.y.data)) {
    launch_sum<kPack<T>>(op, queue);
  } else {
    launch_sum<1>(op, queue);
  }
  check(cudaGetLastError());
}

template void gather_rows(const GatherRows<float, Space::device>&, Queue<Space::device>);
template void gather_rows(const GatherRows<bf16, Space::device>&, Queue<Space::device>);
template void spread_rows(const SpreadRows<float, Space::device>&, Queue<Space::device>);
template void spread_rows(const SpreadRows<bf16, Space::device>&, Queue<Space::device>);
template void spread_rows(const SpreadRows<std::int32_t, Space::device>&, Queue<Space::device>);
template void gather_sum(const GatherSum<float, Space::device>&, Queue<Space::device>);
template void gather_sum(const GatherSum<bf16, Space::device>&, Queue<Space::device>);

}  // namespace moebius::kernels
