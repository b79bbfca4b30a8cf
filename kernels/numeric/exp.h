#pragma once
#include <bit>
#include <cstdint>

/// exp as straight-line arithmetic, so that loops over it vectorise (libm's is a call). Within 1.1 ulp of the
/// true value in between; 0 below -87.33 (no subnormals), infinity above 88.37; NaN stays NaN.
/// Method: exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln(2) / 2, with ln 2 in two parts (Cody & Waite
/// 1980) and the polynomial of Cephes' expf.
namespace moebius::kernels {

inline float fast_exp(float x) {
  constexpr float lowest = -87.33654f, highest = 88.37626f;  // n within [-126, 127]
  constexpr float log2_e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  constexpr float round_magic =
      12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, kept in the low bits
  const float capped_below = x < lowest ? lowest : x;
  const float capped = capped_below > highest ? highest : capped_below;
  const float shifted = capped * log2_e + round_magic;
  const float n = shifted - round_magic;
  const float r = (capped - n * ln2_high) - n * ln2_low;
  float series = 1.9875691500e-4f;
  series = series * r + 1.3981999507e-3f;
  series = series * r + 8.3334519073e-3f;
  series = series * r + 4.1665795894e-2f;
  series = series * r + 1.6666665459e-1f;
  series = series * r + 5.0000001201e-1f;
  const float power = series * (r * r) + r + 1.0f;
  const std::int32_t exponent =
      std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(round_magic);
  const float value = power * std::bit_cast<float>((exponent + 127) << 23);
  const float floored = x < lowest ? 0.0f : value;
  return x > highest ? __builtin_inff() : floored;
}

/// g / (1 + exp(-g))
inline float silu(float g) {
  return g / (1.0f + fast_exp(-g));
}
/// 1 / (1 + exp(-g))
inline float sigmoid(float g) {
  return 1.0f / (1.0f + fast_exp(-g));
}

}  // namespace moebius::kernels
