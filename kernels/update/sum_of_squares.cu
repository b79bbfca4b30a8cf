#include <type_traits>

#include "kernels/device/device.h"
#include "kernels/device/runs.cuh"
#include "kernels/update/sum_of_squares.h"

namespace moebius::kernels {
namespace {

constexpr int kThreads = 256, kUnroll = 4;
constexpr std::int64_t kMaxBlocks =
    1024;  // whatever the GPU, so that the order of the sum is the same on all

/// Of 16 bytes. Squares of bf16 are exact in fp32 (and infinite from 1.8e19 on, a gradient that says that
/// training has diverged); converting each number to fp64 would cost more than reading it.
template <int N, class T>
__device__ __forceinline__ double squares(const Chunk<T, N>& chunk) {
  std::conditional_t<sizeof(T) == 4, double, float> sum = 0;
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const decltype(sum) value = to_float(chunk[i]);
    sum += value * value;
  }
  return double(sum);
}

/// partials[block] = what the block's packs, kUnroll * kThreads of every gridDim.x as many, contribute.
template <class T>
__global__ void __launch_bounds__(kThreads) squares_kernel(const Cut cut, const T* x, double* partials) {
  constexpr int kWidth = kPack<T>;
  const std::int64_t first = std::int64_t{blockIdx.x} * (kThreads * kUnroll) + threadIdx.x;
  const std::int64_t stride = std::int64_t{gridDim.x} * (kThreads * kUnroll);
  const T* const packs = x + cut.head;
  double sum = 0;
  std::int64_t pack = first;
  for (; pack + (kUnroll - 1) * kThreads < cut.packs; pack += stride) {
    Chunk<T, kWidth> chunks[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) chunks[u] = load_chunk<kWidth>(packs + (pack + u * kThreads) * kWidth);
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) sum += squares(chunks[u]);
  }
  for (; pack < cut.packs; pack += kThreads) sum += squares(load_chunk<kWidth>(packs + pack * kWidth));
  const std::int64_t singles = cut.count - cut.packs * kWidth;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < singles;
       i += std::int64_t{gridDim.x} * kThreads) {
    sum += squares(load_chunk<1>(x + place_of_single<kWidth>(cut, i)));
  }
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads) total_kernel(const double* partials, int count, double* total) {
  double sum = 0;
  for (int i = int(threadIdx.x); i < count; i += kThreads) sum += partials[i];
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) *total += sum;
}

}  // namespace

template <class T>
void sum_of_squares(const SumOfSquares<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t count = op.x.shape[0];
  if (count == 0) return;
  const Cut runs = cut<kPack<T>>(count, op.x.data);
  const std::int64_t items = std::max(runs.packs, count - runs.packs * kPack<T>);
  const std::int64_t blocks = std::min(kMaxBlocks, divide_up(items, std::int64_t{kThreads * kUnroll}));
  auto* const partials = static_cast<double*>(queue.device->scratch(blocks * std::int64_t(sizeof(double))));
  squares_kernel<<<unsigned(blocks), kThreads, 0, queue.stream>>>(runs, op.x.data, partials);
  check(cudaGetLastError());
  total_kernel<<<1, kThreads, 0, queue.stream>>>(partials, int(blocks), op.sum.data);
  check(cudaGetLastError());
}

template void sum_of_squares(const SumOfSquares<float, Space::device>&, Queue<Space::device>);
template void sum_of_squares(const SumOfSquares<bf16, Space::device>&, Queue<Space::device>);

}  // namespace moebius::kernels
