#pragma once
#include <bit>
#include <cstdint>

/// exp as straight-line arithmetic, so that loops over it vectorise (libm's is a call). Within 1.1 ulp of the
/// true value in between; 0 below -87.33 (no subnormals), infinity above 88.37; NaN stays NaN.
/// Method: exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln(2) / 2, with ln 2 in two parts (Cody & Waite
/// 1980) and the polynomial of Cephes' expf.
namespace moebius::kernels {

inline float fast_exp(float x) {
  constexpr float kLowest = -87.33654f, kHighest = 88.37626f;  // n within [-126, 127]
  constexpr float kLog2E = 1.44269504f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kRoundMagic =
      12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, kept in the low bits
  const float capped_below = x < kLowest ? kLowest : x;
  const float capped = capped_below > kHighest ? kHighest : capped_below;
  const float shifted = capped * kLog2E + kRoundMagic;
  const float n = shifted - kRoundMagic;
  const float r = (capped - n * kLn2High) - n * kLn2Low;
  float series = 1.9875691500e-4f;
  series = series * r + 1.3981999507e-3f;
  series = series * r + 8.3334519073e-3f;
  series = series * r + 4.1665795894e-2f;
  series = series * r + 1.6666665459e-1f;
  series = series * r + 5.0000001201e-1f;
  const float power = series * (r * r) + r + 1.0f;
  const std::int32_t exponent =
      std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(kRoundMagic);
  const float value = power * std::bit_cast<float>((exponent + 127) << 23);
  const float floored = x < kLowest ? 0.0f : value;
  return x > kHighest ? __builtin_inff() : floored;
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
