#pragma once
#include "kernels/device/lanes.cuh"

namespace moebius::kernels {

/// N numbers of type T in registers as they lie in memory: 16 bytes, or one number where rows are not aligned
/// to that. Half the registers of a Pack in bf16, so that more loads are in flight.
template <class T, int N>
struct Raw {
  static_assert(N == 1 || N == kPack<T>);
  std::uint32_t words[N == 1 ? 1 : 4] = {};  // zeros of any type

  [[nodiscard]] __device__ __forceinline__ float value(int i) const {
    if constexpr (sizeof(T) == 4) return __uint_as_float(words[i]);
    const std::uint32_t word = words[i / 2];
    return __uint_as_float(i % 2 == 0 ? word << 16 : word & 0xffff0000u);
  }
};

/// `from` is aligned to the N numbers.
template <int N, class T>
__device__ __forceinline__ Raw<T, N> load_raw(const T* from) {
  Raw<T, N> raw;
  if constexpr (N > 1) {
    const uint4 words = *reinterpret_cast<const uint4*>(from);
    raw.words[0] = words.x, raw.words[1] = words.y, raw.words[2] = words.z, raw.words[3] = words.w;
  } else if constexpr (sizeof(T) == 4) {
    raw.words[0] = __float_as_uint(*from);
  } else {
    raw.words[0] = from->bits;
  }
  return raw;
}

/// Rounds to T and stores; `to` is aligned to the N numbers.
template <class T, int N>
__device__ __forceinline__ void store_values(T* to, const float (&values)[N]) {
  if constexpr (N == 1) {
    *to = from_float<T>(values[0]);
  } else {
    Pack<T> pack;
#pragma unroll
    for (int i = 0; i < N; ++i) pack.value[i] = values[i];
    store_pack(to, pack);
  }
}

/// Whether rows of `width` numbers that start at each of `rows` can be read and written 16 bytes at a time.
template <class T, class... Pointers>
bool is_packable(std::int64_t width, const Pointers*... rows) {
  const auto is_aligned = [](const void* row) { return reinterpret_cast<std::uintptr_t>(row) % 16 == 0; };
  return width % kPack<T> == 0 && (is_aligned(rows) && ...);
}

}  // namespace moebius::kernels
