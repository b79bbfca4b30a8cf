#pragma once
#include <cuda_bf16.h>

#include <cstdint>

#include "base/bf16.h"

/// What device twins that move bytes are made of: 16 bytes a thread, sums over a warp and over a block.
namespace moebius::kernels {

/// Elements in 16 bytes.
template <class T>
inline constexpr int kPack = 16 / int(sizeof(T));

__device__ __forceinline__ float to_float(float value) {
  return value;
}
__device__ __forceinline__ float to_float(bf16 value) {
  return __uint_as_float(std::uint32_t{value.bits} << 16);
}

/// Rounded to nearest, ties to even.
template <class T>
__device__ __forceinline__ T from_float(float value) {
  if constexpr (sizeof(T) == 4) {
    return value;
  } else {
    bf16 rounded;
    rounded.bits = __bfloat16_as_ushort(__float2bfloat16_rn(value));
    return rounded;
  }
}

/// What a thread holds of a row: kPack<T> numbers as floats.
template <class T>
struct Pack {
  float value[kPack<T>];
};

/// `from` is 16-byte aligned.
template <class T>
__device__ __forceinline__ Pack<T> load_pack(const T* from) {
  const uint4 raw = *reinterpret_cast<const uint4*>(from);
  Pack<T> pack;
  if constexpr (sizeof(T) == 4) {
    pack.value[0] = __uint_as_float(raw.x), pack.value[1] = __uint_as_float(raw.y);
    pack.value[2] = __uint_as_float(raw.z), pack.value[3] = __uint_as_float(raw.w);
  } else {
    const std::uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      pack.value[2 * i] = __uint_as_float(words[i] << 16);
      pack.value[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
  }
  return pack;
}

template <class T>
__device__ __forceinline__ void store_pack(T* to, const Pack<T>& pack) {
  uint4 raw;
  if constexpr (sizeof(T) == 4) {
    raw = {__float_as_uint(pack.value[0]), __float_as_uint(pack.value[1]), __float_as_uint(pack.value[2]),
           __float_as_uint(pack.value[3])};
  } else {
    std::uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const __nv_bfloat162 two = __floats2bfloat162_rn(pack.value[2 * i], pack.value[2 * i + 1]);
      words[i] = *reinterpret_cast<const std::uint32_t*>(&two);
    }
    raw = {words[0], words[1], words[2], words[3]};
  }
  *reinterpret_cast<uint4*>(to) = raw;
}

/// The sum over the lanes of a warp, on all of them, always in the same order.
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}
__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2)
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
  return value;
}

/// The sum over a block of Threads threads, on all of them, always in the same order. All threads take part;
/// may be called again at once.
template <int Threads, class T>
__device__ __forceinline__ T block_sum(T value) {
  constexpr int kWarps = Threads / 32;
  __shared__ T partial[kWarps];
  value = warp_sum(value);
  if constexpr (kWarps == 1) return value;
  __syncthreads();  // the last call's readers are through
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  T sum = partial[0];
#pragma unroll
  for (int warp = 1; warp < kWarps; ++warp) sum += partial[warp];
  return sum;
}

}  // namespace moebius::kernels
