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

}  // namespace

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
