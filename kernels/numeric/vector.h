#pragma once
#include <cstdint>
#include <utility>

/// One register full of floats, in the compiler's own vector types (GCC and Clang, any CPU). Host only: for
/// the few loops that a compiler does not vectorise well by itself.
namespace moebius::kernels {

#if defined(__AVX512F__)
inline constexpr std::int64_t kVectorWidth = 16;
inline constexpr int kVectorRegisters = 32;
#elif defined(__AVX__)
inline constexpr std::int64_t kVectorWidth = 8;
inline constexpr int kVectorRegisters = 16;
#elif defined(__aarch64__)
inline constexpr std::int64_t kVectorWidth = 4;
inline constexpr int kVectorRegisters = 32;
#else
inline constexpr std::int64_t kVectorWidth = 4;
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

/// Lane i of the result is lane Lanes[i] of the two registers laid end to end.
template <class Register, std::size_t... Lanes>
Register pick_lanes(Register low, Register high, std::index_sequence<Lanes...>) {
  return __builtin_shufflevector(low, high, int(Lanes)...);
}

/// Every lane holds what `combine` (of two registers, lane by lane) makes of all lanes.
template <std::size_t Half = kVectorWidth / 2, class Register, class Combine>
Register fold_lanes(Register lanes, const Combine& combine) {
  if constexpr (Half == 0) {
    return lanes;
  } else {
    const auto partner = []<std::size_t... Lane>(std::index_sequence<Lane...>) {
      return std::index_sequence<(Lane ^ Half)...>{};
    };
    const auto partners = partner(std::make_index_sequence<kVectorWidth>());
    return fold_lanes<Half / 2>(combine(lanes, pick_lanes(lanes, lanes, partners)), combine);
  }
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
