#include "kernels/update/fill_normal.h"

namespace moebius::kernels {

template <class T>
void fill_normal(const FillNormal<T, Space::host>& op, Queue<Space::host>) {
  const Random random{op.seed, op.stream, op.tensor};
#pragma omp parallel for schedule(static) if (op.y.shape[0] > 256)
  for (std::int64_t i = 0; i < op.y.shape[0]; ++i) {
    op.y.data[i] = T(float(op.deviation * random.normal(std::uint64_t(op.first_index + i))));
  }
}

template void fill_normal(const FillNormal<float, Space::host>&, Queue<Space::host>);
template void fill_normal(const FillNormal<bf16, Space::host>&, Queue<Space::host>);

}  // namespace moebius::kernels
