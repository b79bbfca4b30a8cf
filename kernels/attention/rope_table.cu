#include <algorithm>

#include "base/math.h"
#include "kernels/attention/rope_table.h"
#include "kernels/device/check.h"

namespace moebius::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kFrequencies = 128;  // of one launch

/// Travels with the launch, so that no copy is needed.
struct Frequencies {
  float inverse[kFrequencies];
  int count;
};

/// Columns begin .. begin + count - 1.
__global__ void __launch_bounds__(kThreads)
    table_kernel(const __grid_constant__ Frequencies frequencies, const double factor,
                 const std::int64_t begin, const View<float, 2, Space::device> cosine,
                 const View<float, 2, Space::device> sine) {
  const std::int64_t item = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const std::int64_t p = item / frequencies.count;
  if (p >= cosine.shape[0]) return;
  const int i = int(item % frequencies.count);
  const float angle = float(p) * frequencies.inverse[i];
  double sine_of_angle, cosine_of_angle;
  sincos(double(angle), &sine_of_angle, &cosine_of_angle);
  cosine(p, begin + i) = float(factor * cosine_of_angle);
  sine(p, begin + i) = float(factor * sine_of_angle);
}

}  // namespace

void fill_rope_table(const RopeTable<Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const auto [positions, half] = op.cosine.shape;
  for (std::int64_t begin = 0; begin < half; begin += kFrequencies) {
    Frequencies frequencies{.inverse = {}, .count = int(std::min<std::int64_t>(kFrequencies, half - begin))};
    for (int i = 0; i < frequencies.count; ++i) {
      frequencies.inverse[i] = float(op.inverse_frequencies[std::size_t(begin + i)]);
    }
    const std::int64_t blocks = divide_up(positions * frequencies.count, kThreads);
    if (blocks == 0) return;
    table_kernel<<<unsigned(blocks), kThreads, 0, queue.stream>>>(frequencies, op.factor, begin, op.cosine,
                                                                  op.sine);
    check(cudaGetLastError());
  }
}

}  // namespace moebius::kernels
