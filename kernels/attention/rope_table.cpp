#include "kernels/attention/rope_table.h"

#include <cmath>

namespace moebius::kernels {

void fill_rope_table(const RopeTable<Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const std::int64_t positions = op.cosine.shape[0], half = op.cosine.shape[1];
#pragma omp parallel for schedule(static) if (positions > 64)
  for (std::int64_t p = 0; p < positions; ++p) {
    for (std::int64_t i = 0; i < half; ++i) {
      const float angle = float(p) * float(op.inverse_frequencies[std::size_t(i)]);
      op.cosine(p, i) = float(op.factor * std::cos(double(angle)));
      op.sine(p, i) = float(op.factor * std::sin(double(angle)));
    }
  }
}

}  // namespace moebius::kernels
