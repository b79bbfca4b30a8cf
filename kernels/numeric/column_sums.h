#pragma once
#include <algorithm>
#include <vector>

#include "base/math.h"
#include "kernels/into.h"
#include "tensor/view.h"

namespace moebius::kernels {

inline constexpr std::int64_t kSumBlock = 64;

/// sums[c] (+)= what `row(r, partial)` adds to partial[c], over all rows: in blocks of kSumBlock rows, each
/// in order, then over the blocks in order, so that the result does not depend on the number of threads.
/// Without `sums` (empty) the rows are still visited, with partial = nullptr. Host only.
template <class Row>
void add_column_sums(std::int64_t rows, View<float, 1, Space::host> sums, Into into, const Row& row) {
  const std::int64_t columns = sums.empty() ? 0 : sums.shape[0];
  const std::int64_t blocks = divide_up(rows, kSumBlock);
  std::vector<float> partials(std::size_t(blocks * columns), 0.0f);
#pragma omp parallel for schedule(static) if (blocks > 1)
  for (std::int64_t block = 0; block < blocks; ++block) {
    float* partial = columns == 0 ? nullptr : partials.data() + block * columns;
    const std::int64_t end = std::min(rows, (block + 1) * kSumBlock);
    for (std::int64_t r = block * kSumBlock; r < end; ++r) row(r, partial);
  }
  if (into == Into::overwrite) std::fill_n(sums.data, columns, 0.0f);
  for (std::int64_t block = 0; block < blocks; ++block) {
    const float* partial = partials.data() + block * columns;
    for (std::int64_t c = 0; c < columns; ++c) sums(c) += partial[c];
  }
}

}  // namespace moebius::kernels
