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
    raw.words[0] = *reinterpret_cast<const std::uint32_t*>(from);
  } else {
    raw.words[0] = *reinterpret_cast<const std::uint16_t*>(from);
  }
  return raw;
}

/// The same where `is_there`, else zeros. Without a branch, so that the loads of an unrolled loop follow each
/// other (nvcc makes a branch of an `if` around a load, and waits in it).
template <int N, class T>
__device__ __forceinline__ Raw<T, N> load_raw_if(bool is_there, const T* from) {
  Raw<T, N> raw;
  if constexpr (N > 1) {
    asm volatile(
        "{\n"
        "  .reg .pred p;\n"
        "  setp.ne.s32 p, %5, 0;\n"
        "  @p ld.global.v4.u32 {%0, %1, %2, %3}, [%4];\n"
        "}\n"
        : "+r"(raw.words[0]), "+r"(raw.words[1]), "+r"(raw.words[2]), "+r"(raw.words[3])
        : "l"(__cvta_generic_to_global(from)), "r"(int(is_there)));
  } else {
    if (is_there) raw = load_raw<N>(from);
  }
  return raw;
}

/// Rounded to T.
template <class T, int N>
__device__ __forceinline__ Raw<T, N> to_raw(const float (&values)[N]) {
  Raw<T, N> raw;
#pragma unroll
  for (int word = 0; word < (N == 1 ? 1 : 4); ++word) {
    if constexpr (sizeof(T) == 4) {
      raw.words[word] = __float_as_uint(values[word]);
    } else if constexpr (N == 1) {
      raw.words[word] = from_float<T>(values[word]).bits;
    } else {
      const __nv_bfloat162 two = __floats2bfloat162_rn(values[2 * word], values[2 * word + 1]);
      raw.words[word] = *reinterpret_cast<const std::uint32_t*>(&two);
    }
  }
  return raw;
}

/// `to` is aligned to the N numbers.
template <class T, int N>
__device__ __forceinline__ void store_raw(T* to, const Raw<T, N>& raw) {
  if constexpr (N > 1) {  // not as a uint4, which nvcc sometimes stores in four pieces
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)),
                 "r"(raw.words[0]), "r"(raw.words[1]), "r"(raw.words[2]), "r"(raw.words[3])
                 : "memory");
  } else if constexpr (sizeof(T) == 4) {
    *reinterpret_cast<std::uint32_t*>(to) = raw.words[0];
  } else {
    *reinterpret_cast<std::uint16_t*>(to) = std::uint16_t(raw.words[0]);
  }
}

/// The same, to leave the caches first: for outputs larger than they are, beside inputs that are read again.
template <class T, int N>
__device__ __forceinline__ void stream_raw(T* to, const Raw<T, N>& raw) {
  if constexpr (N > 1) {
    __stcs(reinterpret_cast<uint4*>(to), uint4{raw.words[0], raw.words[1], raw.words[2], raw.words[3]});
  } else {
    store_raw(to, raw);
  }
}

/// Whether rows of `width` numbers that start at each of `rows` can be read and written 16 bytes at a time.
template <class T, class... Pointers>
bool is_packable(std::int64_t width, const Pointers*... rows) {
  const auto is_aligned = [](const void* row) { return reinterpret_cast<std::uintptr_t>(row) % 16 == 0; };
  return width % kPack<T> == 0 && (is_aligned(rows) && ...);
}

}  // namespace moebius::kernels
