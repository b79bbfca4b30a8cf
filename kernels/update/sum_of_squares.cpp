#include "kernels/update/sum_of_squares.h"

#include <algorithm>
#include <vector>

#include "base/math.h"

namespace moebius::kernels {
namespace {

constexpr std::int64_t kBlock = 4096;

}  // namespace

template <class T>
void sum_of_squares(const SumOfSquares<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const std::int64_t count = op.x.shape[0], blocks = divide_up(count, kBlock);
  std::vector<double> partials(std::size_t(blocks), 0.0);
#pragma omp parallel for schedule(static) if (blocks > 4)
  for (std::int64_t block = 0; block < blocks; ++block) {
    double sum = 0;
    const std::int64_t end = std::min(count, (block + 1) * kBlock);
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = block * kBlock; i < end; ++i)
      sum += double(float(op.x(i))) * double(float(op.x(i)));
    partials[std::size_t(block)] = sum;
  }
  for (const double partial : partials) op.sum(0) += partial;
}

template void sum_of_squares(const SumOfSquares<float, Space::host>&, Queue<Space::host>);
template void sum_of_squares(const SumOfSquares<bf16, Space::host>&, Queue<Space::host>);

}  // namespace moebius::kernels
