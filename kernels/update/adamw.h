#pragma once
#include <cmath>

#include "base/bf16.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// One step of AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) on a run of parameters, in one pass;
/// rounded in the order of torch.optim.AdamW. With g' = gradient_scale * g and k the number of this step,
/// from 1:
///
///   w -= lr * weight_decay * w        m = beta1 m + (1-beta1) g'        v = beta2 v + (1-beta2) g'^2
///   w -= lr / (1-beta1^k) * m / (sqrt(v) / sqrt(1-beta2^k) + epsilon)
///
/// Computed in fp32 on the fp32 value of each weight, which is kept in one of three ways:
///
///   master      in a tensor of its own; w is its value rounded to nearest, ties to even
///   remainder   as the 16 bits that w (bf16) lacks: the bits of the fp32 value are (bits of w << 16) +
///   remainder,
///               so w is its value rounded to nearest, ties away from zero
///   neither     w itself: what its type cannot hold is lost
///
/// W, G and M are the types of weights, gradients and moments: float or bf16.
namespace moebius::kernels {

template <class W, class G, class M, Space S>
struct AdamW {
  View<W, 1, S> w;                         // [count]; the weights that the model computes with
  View<const G, 1, S> g;                   // [count]; gradient
  View<M, 1, S> m, v;                      // [count]; first and second moment
  View<float, 1, S> master;                // [count], or empty
  View<std::int16_t, 1, S> remainder;      // [count], or empty; W = bf16 only
  View<const float, 1, S> gradient_scale;  // [1], see clip.h; or empty: 1. Not finite: nothing is changed
  double lr = 0, beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0;
  std::int64_t step = 1;
};

template <class W, class G, class M>
void adamw(const AdamW<W, G, M, Space::host>&, Queue<Space::host> = {});
template <class W, class G, class M>
void adamw(const AdamW<W, G, M, Space::device>&, Queue<Space::device>);

/// The step's numbers as the loops of both twins need them: computed in double, then rounded once.
struct AdamWScalars {
  float decay, rest1, beta2, rest2, step_size, inverse_root, epsilon;
};
template <class W, class G, class M, Space S>
[[nodiscard]] AdamWScalars adamw_scalars(const AdamW<W, G, M, S>& op) {
  const double correction1 = 1 - std::pow(op.beta1, double(op.step));
  const double correction2 = 1 - std::pow(op.beta2, double(op.step));
  return {.decay = float(1 - op.lr * op.weight_decay),
          .rest1 = float(1 - op.beta1),
          .beta2 = float(op.beta2),
          .rest2 = float(1 - op.beta2),
          .step_size = float(op.lr / correction1),
          .inverse_root = float(1 / std::sqrt(correction2)),
          .epsilon = float(op.epsilon)};
}

template <class W, class G, class M, Space S>
void expect_shapes(const AdamW<W, G, M, S>& op) {
  expect_shape("adamw.g", op.g, op.w.shape);
  expect_shape("adamw.m", op.m, op.w.shape);
  expect_shape("adamw.v", op.v, op.w.shape);
  if (!op.master.empty()) expect_shape("adamw.master", op.master, op.w.shape);
  if (!op.remainder.empty()) expect_shape("adamw.remainder", op.remainder, op.w.shape);
  if (!op.gradient_scale.empty()) expect_shape("adamw.gradient_scale", op.gradient_scale, {1});
}

}  // namespace moebius::kernels
