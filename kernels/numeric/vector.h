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

}  // namespace moebius::kernels
