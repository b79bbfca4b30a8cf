#include "kernels/update/clip.h"

#include <cmath>
#include <limits>

namespace moebius::kernels {

void clip_scale(const ClipScale<Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const double norm = op.gradient_scale * std::sqrt(op.sum_of_squares(0));
  op.scale(0) = std::isfinite(norm) ? float(op.gradient_scale * clipped(norm, op.clip_norm))
                                    : std::numeric_limits<float>::quiet_NaN();
}

}  // namespace moebius::kernels
