#pragma once
#include "tensor/queue.h"
#include "tensor/view.h"

/// One step of AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) on a run of parameters, in one pass;
/// rounded in the order of torch.optim.AdamW. With g' = gradient_scale * g and k the number of this step,
/// from 1:
///
///   w -= lr * weight_decay * w        m = beta1 m + (1-beta1) g'        v = beta2 v + (1-beta2) g'^2
///   w -= lr / (1-beta1^k) * m / (sqrt(v) / sqrt(1-beta2^k) + epsilon)
namespace moebius::kernels {

/// clear: g is left as zeros, ready for the next accumulation, while it is in the cache.
enum class GradientAfter : std::uint8_t { keep, clear };

template <Space S>
struct AdamW {
  View<float, 1, S> w, g, m, v;            // [count]; parameters, gradient, first and second moment
  View<const float, 1, S> gradient_scale;  // [1], the clipping coefficient; or empty: 1
  double lr = 0, beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0;
  std::int64_t step = 1;
  GradientAfter gradient_after = GradientAfter::keep;
};

void adamw(const AdamW<Space::host>&, Queue<Space::host> = {});
void adamw(const AdamW<Space::device>&, Queue<Space::device>);

template <Space S>
void expect_shapes(const AdamW<S>& op) {
  expect_shape("adamw.g", op.g, op.w.shape);
  expect_shape("adamw.m", op.m, op.w.shape);
  expect_shape("adamw.v", op.v, op.w.shape);
  if (!op.gradient_scale.empty()) expect_shape("adamw.gradient_scale", op.gradient_scale, {1});
}

}  // namespace moebius::kernels
