#pragma once
#include "tensor/queue.h"
#include "tensor/view.h"

/// What gradients are multiplied by on their way into the optimizer, where the optimizer reads it:
///
///   norm  = gradient_scale * sqrt(sum_of_squares)
///   scale = gradient_scale * min(1, clip_norm / (norm + 1e-6))        not a number where norm is not finite
namespace moebius::kernels {

template <Space S>
struct ClipScale {
  View<const double, 1, S> sum_of_squares;  // [1]; of the whole gradient, before gradient_scale
  double gradient_scale = 1;
  double clip_norm = 0;     // 0: no clipping
  View<float, 1, S> scale;  // [1]
};

void clip_scale(const ClipScale<Space::host>&, Queue<Space::host> = {});
void clip_scale(const ClipScale<Space::device>&, Queue<Space::device>);

/// The same arithmetic for both twins.
[[nodiscard]] constexpr double clipped(double norm, double clip_norm) {
  const double factor = clip_norm == 0 ? 1 : clip_norm / (norm + 1e-6);
  return factor < 1 ? factor : 1;
}

template <Space S>
void expect_shapes(const ClipScale<S>& op) {
  expect_shape("clip.sum_of_squares", op.sum_of_squares, {1});
  expect_shape("clip.scale", op.scale, {1});
}

}  // namespace moebius::kernels
