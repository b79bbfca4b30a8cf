#pragma once
#include <algorithm>
#include <bit>

#include "kernels/device/lanes.cuh"

/// A few numbers as they lie in memory: moved at once, turned into floats where they are used. So what a
/// thread has in flight takes no more registers than it has bytes.
namespace moebius::kernels {

template <int Bytes>
struct WordOf;
template <>
struct WordOf<16> {
  using type = uint4;
};
template <>
struct WordOf<8> {
  using type = std::uint64_t;
};
template <>
struct WordOf<4> {
  using type = std::uint32_t;
};
template <>
struct WordOf<2> {
  using type = std::uint16_t;
};

/// Width numbers of T, 2 to 16 bytes.
template <class T, int Width>
struct Chunk {
  using Word = typename WordOf<Width* int(sizeof(T))>::type;
  struct Words {
    std::uint32_t at[sizeof(Word) < 4 ? 1 : sizeof(Word) / 4];
  };
  Word word{};

  /// i is known when this is compiled (an unrolled loop).
  __device__ __forceinline__ T operator[](int i) const {
    if constexpr (sizeof(Word) == 2) {
      return std::bit_cast<T>(word);
    } else if constexpr (sizeof(T) == 2) {
      return std::bit_cast<T>(std::uint16_t(std::bit_cast<Words>(word).at[i / 2] >> (16 * (i % 2))));
    } else {
      return std::bit_cast<T>(std::bit_cast<Words>(word).at[i]);
    }
  }
  __device__ __forceinline__ static Chunk of(const T (&value)[Width]) {
    if constexpr (sizeof(Word) == 2) {
      return {std::bit_cast<Word>(value[0])};
    } else {
      Words words;
      constexpr int kEach = 4 / int(sizeof(T));  // numbers in 32 bits
#pragma unroll
      for (int i = 0; i < Width / kEach; ++i) {
        if constexpr (kEach == 1) {
          words.at[i] = std::bit_cast<std::uint32_t>(value[i]);
        } else {
          words.at[i] = std::uint32_t{std::bit_cast<std::uint16_t>(value[2 * i])} |
                        std::uint32_t{std::bit_cast<std::uint16_t>(value[2 * i + 1])} << 16;
        }
      }
      return {std::bit_cast<Word>(words)};
    }
  }
};

/// `from` and `to` are aligned to the size of the chunk.
template <int Width, class T>
__device__ __forceinline__ Chunk<T, Width> load_chunk(const T* from) {
  return {*reinterpret_cast<const typename Chunk<T, Width>::Word*>(from)};
}
template <int Width, class T>
__device__ __forceinline__ void store_chunk(T* to, const Chunk<T, Width>& chunk) {
  if constexpr (sizeof(chunk) == 16) {  // the compiler is free to take a uint4 apart, and does
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(chunk.word.x), "r"(chunk.word.y),
                 "r"(chunk.word.z), "r"(chunk.word.w)
                 : "memory");
  } else {
    *reinterpret_cast<typename Chunk<T, Width>::Word*>(to) = chunk.word;
  }
}

/// Rounded to nearest, ties to even.
template <class T, int Width>
__device__ __forceinline__ Chunk<T, Width> rounded(const float (&value)[Width]) {
  if constexpr (sizeof(T) == 2 && Width > 1) {  // two in one instruction
    typename Chunk<T, Width>::Words words;
#pragma unroll
    for (int i = 0; i < Width / 2; ++i) {
      const __nv_bfloat162 two = __floats2bfloat162_rn(value[2 * i], value[2 * i + 1]);
      words.at[i] = *reinterpret_cast<const std::uint32_t*>(&two);
    }
    return {std::bit_cast<typename Chunk<T, Width>::Word>(words)};
  } else {
    T each[Width];
#pragma unroll
    for (int i = 0; i < Width; ++i) each[i] = from_float<T>(value[i]);
    return Chunk<T, Width>::of(each);
  }
}

/// Width numbers as floats, 16 bytes at a time where they are more.
template <int Width, class T>
__device__ __forceinline__ void load_floats(const T* from, float (&value)[Width]) {
  constexpr int kEach = std::min(Width, kPack<T>);
#pragma unroll
  for (int begin = 0; begin < Width; begin += kEach) {
    const auto chunk = load_chunk<kEach>(from + begin);
#pragma unroll
    for (int i = 0; i < kEach; ++i) value[begin + i] = to_float(chunk[i]);
  }
}
template <int Width, class T>
__device__ __forceinline__ void store_floats(T* to, const float (&value)[Width]) {
  constexpr int kEach = std::min(Width, kPack<T>);
#pragma unroll
  for (int begin = 0; begin < Width; begin += kEach) {
    float part[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) part[i] = value[begin + i];
    store_chunk<kEach>(to + begin, rounded<T>(part));
  }
}

/// a * b, number by number, rounded. (Products of bf16 are exact in fp32: one rounding either way.)
template <class T, int Width>
__device__ __forceinline__ Chunk<T, Width> product(const Chunk<T, Width>& a, const Chunk<T, Width>& b) {
  if constexpr (sizeof(T) == 2 && Width > 1) {
    using Words = typename Chunk<T, Width>::Words;
    Words left = std::bit_cast<Words>(a.word), right = std::bit_cast<Words>(b.word);
#pragma unroll
    for (int i = 0; i < Width / 2; ++i) {
      const __nv_bfloat162 two = __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&left.at[i]),
                                         *reinterpret_cast<const __nv_bfloat162*>(&right.at[i]));
      left.at[i] = *reinterpret_cast<const std::uint32_t*>(&two);
    }
    return {std::bit_cast<typename Chunk<T, Width>::Word>(left)};
  } else {
    float each[Width];
#pragma unroll
    for (int i = 0; i < Width; ++i) each[i] = to_float(a[i]) * to_float(b[i]);
    return rounded<T>(each);
  }
}

/// What lane `source` of each group of Lanes lanes holds; all lanes of the warp take part.
template <int Lanes, class T, int Width>
__device__ __forceinline__ Chunk<T, Width> shuffled(const Chunk<T, Width>& chunk, int source) {
  auto words = std::bit_cast<typename Chunk<T, Width>::Words>(chunk.word);
  for (std::uint32_t& word : words.at) word = __shfl_sync(0xffffffffu, word, source, Lanes);
  return {std::bit_cast<typename Chunk<T, Width>::Word>(words)};
}

/// Whether 16 bytes may be moved at once.
inline bool is_aligned(const void* memory) {
  return reinterpret_cast<std::uintptr_t>(memory) % 16 == 0;
}

}  // namespace moebius::kernels
