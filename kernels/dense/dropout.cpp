#include "kernels/dense/dropout.h"

#include <algorithm>

namespace moebius::kernels {

template <class T>
void dropout(const Dropout<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const std::int64_t first = op.first_column, columns = op.x.columns;
  const float factor = 1 / (1 - op.probability);
  const std::uint32_t threshold = op.threshold();
#pragma omp parallel for schedule(static) if (op.x.rows * columns > 4096)
  for (std::int64_t row = 0; row < op.x.rows; ++row) {
    const std::int64_t draws = op.draws_of(row);
    if (draws < 0) continue;
    const T* x = op.x.row(row);
    T* y = op.y.row(row);
    for (std::int64_t group = first / 4; 4 * group < first + columns; ++group) {
      const auto words = op.words(draws, group);
      const std::int64_t begin = std::max<std::int64_t>(4 * group - first, 0);
      const std::int64_t end = std::min(4 * group + 4 - first, columns);
      for (std::int64_t c = begin; c < end; ++c) {
        const bool is_kept = words[std::size_t(first + c - 4 * group)] >= threshold;
        const float before = op.into == Into::add ? float(y[c]) : 0;
        y[c] = T(before + (is_kept ? factor * float(x[c]) : 0));
      }
    }
  }
}

template void dropout(const Dropout<float, Space::host>&, Queue<Space::host>);

}  // namespace moebius::kernels
