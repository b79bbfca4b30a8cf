#include "kernels/update/adamw.h"

#include <cmath>

namespace moebius::kernels {
namespace {

/// The step's numbers as the loop needs them: computed in double, then rounded once.
struct Scalars {
  float decay, rest1, beta2, rest2, step_size, inverse_root, epsilon, gradient_scale;
};

Scalars scalars(const AdamW<Space::host>& op) {
  const double correction1 = 1 - std::pow(op.beta1, double(op.step));
  const double correction2 = 1 - std::pow(op.beta2, double(op.step));
  return {.decay = float(1 - op.lr * op.weight_decay),
          .rest1 = float(1 - op.beta1),
          .beta2 = float(op.beta2),
          .rest2 = float(1 - op.beta2),
          .step_size = float(op.lr / correction1),
          .inverse_root = float(1 / std::sqrt(correction2)),
          .epsilon = float(op.epsilon),
          .gradient_scale = op.gradient_scale.empty() ? 1.0f : op.gradient_scale(0)};
}

template <GradientAfter After>
void step(const AdamW<Space::host>& op, const Scalars& s) {
  const std::int64_t count = op.w.shape[0];
  float *w = op.w.data, *g = op.g.data, *m = op.m.data, *v = op.v.data;
#pragma omp parallel for simd schedule(static) if (count > 16384)
  for (std::int64_t i = 0; i < count; ++i) {
    const float gradient = g[i] * s.gradient_scale;
    const float first = m[i] + s.rest1 * (gradient - m[i]);  // torch: exp_avg.lerp_(grad, 1 - beta1)
    const float second = v[i] * s.beta2 + s.rest2 * gradient * gradient;
    m[i] = first;
    v[i] = second;
    w[i] = w[i] * s.decay - s.step_size * (first / (std::sqrt(second) * s.inverse_root + s.epsilon));
    if constexpr (After == GradientAfter::clear) g[i] = 0;
  }
}

}  // namespace

void adamw(const AdamW<Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  if (op.gradient_after == GradientAfter::clear) {
    step<GradientAfter::clear>(op, scalars(op));
  } else {
    step<GradientAfter::keep>(op, scalars(op));
  }
}

}  // namespace moebius::kernels
