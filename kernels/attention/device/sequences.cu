#include "base/math.h"
#include "kernels/attention/device/sequences.h"
#include "kernels/device/check.h"
#include "kernels/device/lanes.cuh"

namespace moebius::kernels {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;

/// The rows that segments own lie in one piece.
struct Owned {
  std::int64_t begin, end;
  __device__ explicit Owned(const Starts& starts) : begin(starts(0)), end(starts(starts.shape[0] - 1)) {}
  [[nodiscard]] __device__ bool contains(std::int64_t row) const { return begin <= row && row < end; }
};

__global__ void list_kernel(SequenceLists op) {
  const std::int64_t segments = op.starts.shape[0] - 1;
  const auto first_row = [&](std::int64_t n) {
    return n <= segments ? std::int64_t{op.starts(n)} : op.starts(segments) + (n - segments);
  };
  for (std::int64_t n = threadIdx.x; n <= op.sequences; n += kThreads) {
    const std::int64_t row = first_row(n);
    for (int w = 0; w < op.width_count; ++w) op.offsets(w, n) = row * op.widths[w];
    if (n < op.sequences) op.lengths(n) = std::int32_t(first_row(n + 1) - row);
  }
}

__global__ void clear_kernel(ClearUnowned op) {
  const Owned owned(op.starts);
  const std::int64_t unowned = op.y.rows - (owned.end - owned.begin);
  for (std::int64_t i = blockIdx.x; i < unowned; i += gridDim.x) {
    const std::int64_t row = i < owned.begin ? i : i - owned.begin + owned.end;
    for (std::int64_t c = threadIdx.x; c < op.y.columns; c += kThreads) op.y(row, c) = bf16();
    if (op.log_sum_exp.data == nullptr) continue;
    for (std::int64_t h = threadIdx.x; h < op.log_sum_exp.shape[1]; h += kThreads) op.log_sum_exp(row, h) = 0;
  }
}

__global__ void list_blocks_kernel(BlockLists op) {
  const std::int64_t segments = op.query_counts.shape[0];
  for (std::int64_t n = threadIdx.x; n <= segments; n += kThreads) {
    for (int w = 0; w < op.width_count; ++w)
      op.offsets(w, n) = (op.of_keys[w] ? op.key_starts(n) : op.query_starts(n)) * op.widths[w];
    if (n == segments) continue;
    op.lengths(0, n) = op.query_counts(n);
    op.lengths(1, n) = op.key_counts(n);
  }
}

/// Whether a segment has this row: the last one that does not start behind it.
__device__ bool is_owned(const Starts& starts, const Starts& counts, std::int64_t row) {
  std::int64_t low = 0, high = counts.shape[0];  // starts before low are <= row, those from high on are above
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (starts(middle) <= row) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low > 0 && row < std::int64_t{starts(low - 1)} + counts(low - 1);
}

__device__ void clear_row(const Matrix<bf16, Space::device>& matrix, std::int64_t row, std::int64_t lane) {
  for (std::int64_t c = lane * kPack<bf16>; c < matrix.columns; c += 32 * kPack<bf16>)
    *reinterpret_cast<uint4*>(matrix.row(row) + c) = uint4{0, 0, 0, 0};
}

/// One warp a row.
__global__ void finish_kernel(FinishGradients op) {
  const std::int64_t row = std::int64_t(blockIdx.x) * kWarps + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= op.dv.rows) return;
  if (Owned(op.starts).contains(row)) {
    for (std::int64_t c = lane * kPack<bf16>; c < op.dv.columns; c += 32 * kPack<bf16>)
      *reinterpret_cast<uint4*>(op.dv.row(row) + c) = *reinterpret_cast<const uint4*>(&op.values(row, c));
  } else {
    clear_row(op.dq, row, lane);
    clear_row(op.dk, row, lane);
    clear_row(op.dv, row, lane);
  }
}

/// One warp a row.
__global__ void clear_gaps_kernel(ClearGaps op) {
  const std::int64_t row = std::int64_t(blockIdx.x) * kWarps + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= op.matrix.rows || is_owned(op.starts, op.counts, row)) return;
  clear_row(op.matrix, row, lane);
  if (op.log_sum_exp.data == nullptr) return;
  for (std::int64_t h = lane; h < op.log_sum_exp.shape[1]; h += 32) op.log_sum_exp(row, h) = -INFINITY;
}

}  // namespace

void list_blocks(const BlockLists& op, Queue<Space::device> queue) {
  const std::int64_t segments = op.query_counts.shape[0];
  expect_shape("attention.lengths", op.lengths, {2, segments});
  expect_shape("attention.offsets", op.offsets, {op.width_count, segments + 1});
  list_blocks_kernel<<<1, kThreads, 0, queue.stream>>>(op);
  check(cudaGetLastError());
}

void clear_gaps(const ClearGaps& op, Queue<Space::device> queue) {
  if (op.matrix.rows == 0) return;
  clear_gaps_kernel<<<unsigned(divide_up(op.matrix.rows, kWarps)), kThreads, 0, queue.stream>>>(op);
  check(cudaGetLastError());
}

void list_sequences(const SequenceLists& op, Queue<Space::device> queue) {
  expect_shape("attention.lengths", op.lengths, {op.sequences});
  expect_shape("attention.offsets", op.offsets, {op.width_count, op.sequences + 1});
  list_kernel<<<1, kThreads, 0, queue.stream>>>(op);
  check(cudaGetLastError());
}

void clear_unowned(const ClearUnowned& op, Queue<Space::device> queue) {
  constexpr int kBlocks = 64;  // rows of padding are few
  clear_kernel<<<kBlocks, kThreads, 0, queue.stream>>>(op);
  check(cudaGetLastError());
}

void finish_gradients(const FinishGradients& op, Queue<Space::device> queue) {
  if (op.dv.rows == 0) return;
  finish_kernel<<<unsigned(divide_up(op.dv.rows, kWarps)), kThreads, 0, queue.stream>>>(op);
  check(cudaGetLastError());
}

}  // namespace moebius::kernels
