#pragma once
#include "kernels/device/chunk.cuh"

namespace moebius::kernels {

/// A warp copies a row of `count` chunks of Width numbers, or fills it with zeros where `from` is null.
template <int Width, class T>
__device__ __forceinline__ void copy_row(const T* from, T* to, std::int64_t count) {
  constexpr int kUnroll = 4;
  const std::int64_t lane = threadIdx.x % 32;
  std::int64_t first = lane;
  for (; first + (kUnroll - 1) * 32 < count; first += kUnroll * 32) {
    Chunk<T, Width> chunks[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (from != nullptr) chunks[u] = load_chunk<Width>(from + (first + u * 32) * Width);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) store_chunk<Width>(to + (first + u * 32) * Width, chunks[u]);
  }
  for (; first < count; first += 32) {
    Chunk<T, Width> chunk;
    if (from != nullptr) chunk = load_chunk<Width>(from + first * Width);
    store_chunk<Width>(to + first * Width, chunk);
  }
}

}  // namespace moebius::kernels
