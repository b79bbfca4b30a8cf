#include "kernels/update/block_copy.h"

namespace moebius::kernels {
namespace {

constexpr std::int64_t kParallelCount = 16384;

}  // namespace

template <class From, class To>
void block_copy(const BlockCopy<From, To, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
#pragma omp parallel for schedule(static) if (op.x.rows * op.x.columns > kParallelCount)
  for (std::int64_t row = 0; row < op.x.rows; ++row) {
    const From* x = op.x.row(row);
    To* y = op.y.row(row);
    if (op.into == Into::overwrite) {
      for (std::int64_t c = 0; c < op.x.columns; ++c) y[c] = To(float(x[c]));
    } else {
      for (std::int64_t c = 0; c < op.x.columns; ++c) y[c] = To(float(y[c]) + float(x[c]));
    }
  }
}

#define MOEBIUS_INSTANTIATE(From, To) \
  template void block_copy(const BlockCopy<From, To, Space::host>&, Queue<Space::host>);
MOEBIUS_INSTANTIATE(float, float)
MOEBIUS_INSTANTIATE(float, bf16)
MOEBIUS_INSTANTIATE(bf16, float)
MOEBIUS_INSTANTIATE(bf16, bf16)

}  // namespace moebius::kernels
