#pragma once
#include <algorithm>

#include "base/math.h"
#include "kernels/device/check.h"
#include "kernels/device/chunk.cuh"
#include "tensor/queue.h"

/// Loops over runs of numbers, all of one length, that may begin at any address.
namespace moebius::kernels {

/// `head` numbers, then `packs` packs that lie at addresses fit for wide accesses in every run, then the
/// rest.
struct Cut {
  std::int64_t head = 0, packs = 0, count = 0;
};

/// Width numbers a pack. Runs whose packs do not begin at the same index have none: one number at a time
/// then. A null pointer is a run that is not there.
template <int Width, class... T>
Cut cut(std::int64_t count, const T*... runs) {
  const auto fits = [](const auto* run, std::int64_t head) {
    const std::size_t bytes = std::min<std::size_t>(16, Width * sizeof(*run));
    return run == nullptr || reinterpret_cast<std::uintptr_t>(run + head) % bytes == 0;
  };
  for (std::int64_t head = 0; head < std::min<std::int64_t>(Width, count); ++head) {
    if ((fits(runs, head) && ...)) return {head, (count - head) / Width, count};
  }
  return {0, 0, count};
}

/// The numbers that are in no pack, counted from 0: where the i-th of them lies.
template <int Width>
__device__ __forceinline__ std::int64_t place_of_single(const Cut& cut, std::int64_t i) {
  return i < cut.head ? i : i + cut.packs * Width;
}

inline constexpr int kRunThreads = 256;

struct AlwaysWanted {
  __device__ __forceinline__ static bool wanted() { return true; }
};

/// Op has load<N>(index), which returns what N numbers need, and store<N>(index, that); without wanted()
/// nothing is done. A thread has Unroll packs in flight; a warp's packs lie side by side.
template <int Width, int Unroll, class Op>
__global__ void __launch_bounds__(kRunThreads) run_kernel(const Cut cut, const Op op) {
  if (!op.wanted()) return;
  const std::int64_t begin = std::int64_t{blockIdx.x} * (kRunThreads * Unroll),
                     end = begin + kRunThreads * Unroll;
  const std::int64_t first = begin + threadIdx.x;
  if (end <= cut.packs) {
    decltype(op.template load<Width>(0)) items[Unroll];
#pragma unroll
    for (int u = 0; u < Unroll; ++u)
      items[u] = op.template load<Width>(cut.head + (first + u * kRunThreads) * Width);
#pragma unroll
    for (int u = 0; u < Unroll; ++u)
      op.template store<Width>(cut.head + (first + u * kRunThreads) * Width, items[u]);
  } else {
#pragma unroll 1
    for (std::int64_t pack = first; pack < std::min(end, cut.packs); pack += kRunThreads) {
      const std::int64_t at = cut.head + pack * Width;
      op.template store<Width>(at, op.template load<Width>(at));
    }
  }
  const std::int64_t singles = cut.count - cut.packs * Width;
#pragma unroll 1
  for (std::int64_t i = first; i < std::min(end, singles); i += kRunThreads) {
    const std::int64_t at = place_of_single<Width>(cut, i);
    op.template store<1>(at, op.template load<1>(at));
  }
}

template <int Width, int Unroll, class Op>
void run(const Cut& cut, const Op& op, Queue<Space::device> queue) {
  if (cut.count == 0) return;
  const std::int64_t items = std::max(cut.packs, cut.count - cut.packs * Width);
  const std::int64_t blocks = divide_up(items, std::int64_t{kRunThreads * Unroll});
  run_kernel<Width, Unroll><<<unsigned(blocks), kRunThreads, 0, queue.stream>>>(cut, op);
  check(cudaGetLastError());
}

}  // namespace moebius::kernels
