#include "kernels/attention/merge_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace moebius::kernels {
namespace {

/// The factors of what there is and of what is added, from l and l_part; l becomes that of both.
struct Factors {
  float kept, part;
};
Factors merge(float& log_sum_exp, float part) {
  if (part == -std::numeric_limits<float>::infinity()) return {1, 0};
  const float highest = std::max(log_sum_exp, part);
  const float sum = std::exp(log_sum_exp - highest) + std::exp(part - highest);
  const float merged = highest + std::log(sum);
  const Factors factors{std::exp(log_sum_exp - merged), std::exp(part - merged)};
  log_sum_exp = merged;
  return factors;
}

}  // namespace

template <class T>
void merge_attention(const MergeAttention<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const auto [tokens, heads] = op.log_sum_exp.shape;
  const std::int64_t head_dim = op.y.shape[1] / heads, rows = tokens * heads;
#pragma omp parallel for schedule(static)
  for (std::int64_t row = 0; row < rows; ++row) {
    const Factors factors = merge(op.log_sum_exp.data[row], op.part_log_sum_exp.data[row]);
    if (factors.part == 0) continue;
    const T* part = op.part.data + row * head_dim;
    float* y = op.y.data + row * head_dim;
#pragma omp simd
    for (std::int64_t c = 0; c < head_dim; ++c) y[c] = factors.kept * y[c] + factors.part * float(part[c]);
  }
}

template void merge_attention(const MergeAttention<float, Space::host>&, Queue<Space::host>);
template void merge_attention(const MergeAttention<bf16, Space::host>&, Queue<Space::host>);

}  // namespace moebius::kernels
