#include "base/math.h"
#include "kernels/attention/merge_attention.h"
#include "kernels/device/check.h"
#include "kernels/device/chunk.cuh"

namespace moebius::kernels {
namespace {

constexpr int kWarps = 8, kThreads = 32 * kWarps;

/// A warp has one head of one token.
template <int Width, class T>
__global__ void __launch_bounds__(kThreads) merge_kernel(const MergeAttention<T, Space::device> op) {
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (row >= op.log_sum_exp.size()) return;
  const float old = op.log_sum_exp.data[row], part = op.part_log_sum_exp.data[row];
  if (part == -INFINITY) return;
  const float highest = fmaxf(old, part);
  const float merged = highest + logf(expf(old - highest) + expf(part - highest));
  const float kept_factor = expf(old - merged), part_factor = expf(part - merged);
  __syncwarp();  // all lanes have read what the first one overwrites
  if (threadIdx.x % 32 == 0) op.log_sum_exp.data[row] = merged;
  const std::int64_t head_dim = op.y.shape[1] / op.log_sum_exp.shape[1];
  for (std::int64_t c = threadIdx.x % 32 * Width; c < head_dim; c += 32 * Width) {
    float y[Width], added[Width];
    load_floats<Width>(op.y.data + row * head_dim + c, y);
    load_floats<Width>(op.part.data + row * head_dim + c, added);
#pragma unroll
    for (int i = 0; i < Width; ++i) y[i] = fmaf(part_factor, added[i], kept_factor * y[i]);
    store_floats<Width>(op.y.data + row * head_dim + c, y);
  }
}

}  // namespace

template <class T>
void merge_attention(const MergeAttention<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t head_dim = op.y.shape[1] / op.log_sum_exp.shape[1];
  const std::int64_t blocks = head_dim == 0 ? 0 : divide_up(op.log_sum_exp.size(), kWarps);
  if (blocks == 0) return;
  constexpr int kWidth = kPack<float>;
  const bool packed = head_dim % kWidth == 0 && is_aligned(op.part.data) && is_aligned(op.y.data);
  const auto kernel = packed ? merge_kernel<kWidth, T> : merge_kernel<1, T>;
  kernel<<<unsigned(blocks), kThreads, 0, queue.stream>>>(op);
  check(cudaGetLastError());
}

template void merge_attention(const MergeAttention<float, Space::device>&, Queue<Space::device>);
template void merge_attention(const MergeAttention<bf16, Space::device>&, Queue<Space::device>);

}  // namespace moebius::kernels
