#include "kernels/attention/append_rows.h"

#include <algorithm>

namespace moebius::kernels {

template <class T>
void append_rows(const AppendRows<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  for (std::int64_t t = 0; t < op.x.rows; ++t) {
    if (op.rows(t) >= 0) std::copy_n(op.x.row(t), op.x.columns, &op.cache(op.rows(t), 0));
  }
}

template void append_rows(const AppendRows<float, Space::host>&, Queue<Space::host>);

}  // namespace moebius::kernels
