#pragma once
#include <cstdint>

/// One register full of floats, in the compiler's own vector types (GCC and Clang, any CPU). Host only: for
/// the few loops that a compiler does not vectorise well by itself.
namespace moebius::kernels {

#if defined(__AVX512F__)
inline constexpr int kVectorWidth = 16;
inline constexpr int kVectorRegisters = 32;
#elif defined(__AVX__)
inline constexpr int kVectorWidth = 8;
inline constexpr int kVectorRegisters = 16;
#elif defined(__aarch64__)
inline constexpr int kVectorWidth = 4;
inline constexpr int kVectorRegisters = 32;
#else
inline constexpr int kVectorWidth = 4;
inline constexpr int kVectorRegisters = 16;
#endif

using Vector = float __attribute__((vector_size(kVectorWidth * 4)));
/// The same in memory, at any address of a float.
using LooseVector = float __attribute__((vector_size(kVectorWidth * 4), aligned(4), may_alias));

inline Vector load(const float* from) {
  return *reinterpret_cast<const LooseVector*>(from);
}
inline void store(float* to, Vector value) {
  *reinterpret_cast<LooseVector*>(to) = value;
}
inline Vector broadcast(float value) {
  return Vector{} + value;
}

using IntVector = std::int32_t __attribute__((vector_size(kVectorWidth * 4)));

/// 0, 1, 2, ...
inline IntVector lane_numbers() {
  IntVector lanes = {};
  for (int lane = 0; lane < kVectorWidth; ++lane) lanes[lane] = lane;
  return lanes;
}

/// Every lane holds what `combine` (of two registers, lane by lane) makes of all lanes.
template <class Register, class Combine>
Register fold_lanes(Register lanes, const Combine& combine) {
#pragma GCC unroll 4
  for (int half = kVectorWidth / 2; half > 0; half /= 2) {
    lanes = combine(lanes, __builtin_shuffle(lanes, lane_numbers() ^ half));
  }
  return lanes;
}

/// The largest of `initial` and `count` values; a NaN among them is passed over. The compiler's own reduction
/// would stay scalar, because it must mind NaN and signed zeros.
inline float largest(const float* values, std::int64_t count, float initial) {
  Vector lanes = broadcast(initial);
  std::int64_t i = 0;
  for (; i + kVectorWidth <= count; i += kVectorWidth) {
    const Vector next = load(values + i);
    lanes = next > lanes ? next : lanes;
  }
  float result = fold_lanes(lanes, [](Vector a, Vector b) { return a > b ? a : b; })[0];
  for (; i < count; ++i) result = values[i] > result ? values[i] : result;
  return result;
}

}  // namespace moebius::kernels
