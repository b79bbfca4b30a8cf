#include "kernels/device/check.h"
#include "kernels/update/clip.h"

namespace moebius::kernels {
namespace {

__global__ void clip_kernel(const ClipScale<Space::device> op) {
  const double norm = op.gradient_scale * sqrt(*op.sum_of_squares.data);
  *op.scale.data = isfinite(norm) ? float(op.gradient_scale * clipped(norm, op.clip_norm)) : nanf("");
}

}  // namespace

void clip_scale(const ClipScale<Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  clip_kernel<<<1, 1, 0, queue.stream>>>(op);
  check(cudaGetLastError());
}

}  // namespace moebius::kernels
