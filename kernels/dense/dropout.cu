#include <algorithm>

#include "base/math.h"
#include "kernels/dense/dropout.h"
#include "kernels/device/check.h"
#include "kernels/device/lanes.cuh"

namespace moebius::kernels {
namespace {

constexpr int kThreads = 256;

/// A thread has the up to four numbers of a row that one draw is for.
template <class T>
__global__ void __launch_bounds__(kThreads)
    dropout_kernel(const Dropout<T, Space::device> op, float factor, std::int64_t groups) {
  const std::int64_t count = op.x.rows * groups, stride = std::int64_t(gridDim.x) * kThreads;
  const std::uint32_t threshold = op.threshold();
  for (std::int64_t i = std::int64_t(blockIdx.x) * kThreads + threadIdx.x; i < count; i += stride) {
    const std::int64_t row = i / groups, group = op.first_column / 4 + i % groups;
    const std::int64_t draws = op.draws_of(row);
    if (draws < 0) continue;
    const auto words = op.words(draws, group);
    for (int word = 0; word < 4; ++word) {
      const std::int64_t c = 4 * group + word - op.first_column;
      if (c < 0 || c >= op.x.columns) continue;
      T& y = op.y(row, c);
      const float before = op.into == Into::add ? to_float(y) : 0;
      y = from_float<T>(before + (words[word] >= threshold ? factor * to_float(op.x(row, c)) : 0));
    }
  }
}

}  // namespace

template <class T>
void dropout(const Dropout<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t end = divide_up(op.first_column + op.x.columns, std::int64_t{4});
  const std::int64_t groups = end - op.first_column / 4, count = op.x.rows * groups;
  if (count == 0 || op.x.columns == 0) return;
  const std::int64_t blocks = std::min<std::int64_t>(divide_up(count, std::int64_t{kThreads}), 65536);
  dropout_kernel<<<unsigned(blocks), kThreads, 0, queue.stream>>>(op, 1 / (1 - op.probability), groups);
  check(cudaGetLastError());
}

template void dropout(const Dropout<float, Space::device>&, Queue<Space::device>);
template void dropout(const Dropout<bf16, Space::device>&, Queue<Space::device>);

}  // namespace moebius::kernels
