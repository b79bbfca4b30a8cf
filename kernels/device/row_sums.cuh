#pragma once
#include "kernels/device/lanes.cuh"

namespace moebius::kernels {

/// Sums over a block of Threads threads, Rows of them at once, on all threads, always in the same order.
/// Called again and again with `turn` = 0, 1, 0, ..., one barrier each time: who is still reading reads the
/// other half.
template <int Threads, int Rows>
__device__ __forceinline__ void block_sums(float (&value)[Rows], int turn) {
  constexpr int kWarps = Threads / 32;
  __shared__ float partial[2][kWarps][Rows];
#pragma unroll
  for (int r = 0; r < Rows; ++r) value[r] = warp_sum(value[r]);
  if (threadIdx.x % 32 == 0) {
#pragma unroll
    for (int r = 0; r < Rows; ++r) partial[turn][threadIdx.x / 32][r] = value[r];
  }
  __syncthreads();
#pragma unroll
  for (int r = 0; r < Rows; ++r) {
    value[r] = partial[turn][0][r];
#pragma unroll
    for (int warp = 1; warp < kWarps; ++warp) value[r] += partial[turn][warp][r];
  }
}

}  // namespace moebius::kernels
