#include "kernels/update/adamw.h"

#include <bit>
#include <cmath>
#include <type_traits>

namespace moebius::kernels {
namespace {

/// Where the fp32 value of a weight is kept.
struct InMaster {};
struct InRemainder {};
struct InWeight {};

template <class Kept, class Op>
float weight_of(const Op& op, std::int64_t i) {
  if constexpr (std::is_same_v<Kept, InMaster>) return op.master.data[i];
  if constexpr (std::is_same_v<Kept, InRemainder>) {
    const std::uint32_t high = std::uint32_t{op.w.data[i].bits} << 16;
    return std::bit_cast<float>(high + std::uint32_t(std::int32_t{op.remainder.data[i]}));
  }
  if constexpr (std::is_same_v<Kept, InWeight>) return float(op.w.data[i]);
}

template <class Kept, class W, class Op>
void keep(const Op& op, std::int64_t i, float value) {
  if constexpr (std::is_same_v<Kept, InRemainder>) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t high = (bits + 0x8000u) >> 16;
    op.w.data[i].bits = std::uint16_t(high);
    op.remainder.data[i] = std::int16_t(std::uint16_t(bits - (high << 16)));
  } else {
    if constexpr (std::is_same_v<Kept, InMaster>) op.master.data[i] = value;
    op.w.data[i] = W(value);
  }
}

template <class Kept, class W, class G, class M>
void step(const AdamW<W, G, M, Space::host>& op, const AdamWScalars& s, float gradient_scale) {
  const std::int64_t count = op.w.shape[0];
#pragma omp parallel for simd schedule(static) if (count > 16384)
  for (std::int64_t i = 0; i < count; ++i) {
    const float gradient = float(op.g.data[i]) * gradient_scale;
    const float m = float(op.m.data[i]);
    const float first = m + s.rest1 * (gradient - m);  // torch: exp_avg.lerp_(grad, 1 - beta1)
    const float second = float(op.v.data[i]) * s.beta2 + s.rest2 * gradient * gradient;
    op.m.data[i] = M(first);
    op.v.data[i] = M(second);
    const float w = weight_of<Kept>(op, i);
    keep<Kept, W>(op, i,
                  w * s.decay - s.step_size * (first / (std::sqrt(second) * s.inverse_root + s.epsilon)));
  }
}

}  // namespace

template <class W, class G, class M>
void adamw(const AdamW<W, G, M, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const float scale = op.gradient_scale.empty() ? 1.0f : op.gradient_scale(0);
  if (!std::isfinite(scale)) return;
  const AdamWScalars s = adamw_scalars(op);
  if (!op.master.empty()) return step<InMaster>(op, s, scale);
  if constexpr (std::is_same_v<W, bf16>) {
    if (!op.remainder.empty()) return step<InRemainder>(op, s, scale);
  }
  step<InWeight>(op, s, scale);
}

template void adamw(const AdamW<float, float, float, Space::host>&, Queue<Space::host>);
template void adamw(const AdamW<bf16, float, float, Space::host>&, Queue<Space::host>);
template void adamw(const AdamW<bf16, float, bf16, Space::host>&, Queue<Space::host>);
template void adamw(const AdamW<bf16, bf16, float, Space::host>&, Queue<Space::host>);
template void adamw(const AdamW<bf16, bf16, bf16, Space::host>&, Queue<Space::host>);

}  // namespace moebius::kernels
