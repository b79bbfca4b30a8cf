#pragma once

/// exp for device twins, in two instructions: one multiplication and the special function unit's 2^x.
/// Relative error within 2^-22 + |x| * 2^-23; 0 below -87.34, where the result would be subnormal. NaN stays
/// NaN.
namespace moebius::kernels {

__device__ __forceinline__ float exp_approx(float x) {
  constexpr float kLog2E = 1.44269504f;
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * kLog2E));
  return power;
}

/// 1 / (1 + exp(-x))
__device__ __forceinline__ float sigmoid_approx(float x) {
  return __fdividef(1.0f, 1.0f + exp_approx(-x));
}

}  // namespace moebius::kernels
