#include "base/math.h"
#include "kernels/device/check.h"
#include "kernels/device/lanes.cuh"
#include "kernels/update/fill_normal.h"

namespace moebius::kernels {
namespace {

constexpr int kThreads = 256;  // a number each: arithmetic in double, not memory, is what it takes

/// Random::normal.
__device__ double normal(const Random& random, std::uint64_t index) {
  const auto uniforms = random.uniforms(index);
  return sqrt(-2 * log(1 - uniforms[0])) * cospi(2 * uniforms[1]);
}

template <class T>
__global__ void __launch_bounds__(kThreads) normal_kernel(const FillNormal<T, Space::device> op) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= op.y.shape[0]) return;
  const Random random{op.seed, op.stream, op.tensor};
  op.y.data[i] = from_float<T>(float(op.deviation * normal(random, std::uint64_t(op.first_index + i))));
}

}  // namespace

template <class T>
void fill_normal(const FillNormal<T, Space::device>& op, Queue<Space::device> queue) {
  const std::int64_t blocks = divide_up(op.y.shape[0], kThreads);
  if (blocks == 0) return;
  normal_kernel<<<unsigned(blocks), kThreads, 0, queue.stream>>>(op);
  check(cudaGetLastError());
}

template void fill_normal(const FillNormal<float, Space::device>&, Queue<Space::device>);
template void fill_normal(const FillNormal<bf16, Space::device>&, Queue<Space::device>);

}  // namespace moebius::kernels
