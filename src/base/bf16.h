#pragma once
#include <bit>
#include <cstdint>

namespace moebius {

/// bfloat16, the upper 16 bits of an IEEE float32, as a type of our own: host code needs no CUDA toolkit
/// for it, and device code may reinterpret it as `__nv_bfloat16`, which has the same bits.
struct bf16 {
  std::uint16_t bits = 0;

  constexpr bf16() = default;
  /// Rounds to the nearest value, ties to even; NaN stays a (quiet) NaN.
  explicit constexpr bf16(float value) : bits(rounded(std::bit_cast<std::uint32_t>(value))) {}
  explicit constexpr operator float() const { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

 private:
  static constexpr std::uint16_t rounded(std::uint32_t word) {
    const bool is_nan = (word & 0x7fff'ffffu) > 0x7f80'0000u;
    if (is_nan) return std::uint16_t((word >> 16) | 0x40u);
    const std::uint32_t half_plus_lsb = 0x7fffu + ((word >> 16) & 1u);
    return std::uint16_t((word + half_plus_lsb) >> 16);
  }
};

}  // namespace moebius
