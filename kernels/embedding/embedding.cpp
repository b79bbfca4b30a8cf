#include "kernels/embedding/embedding.h"

#include <cstring>
#include <omp.h>

#include "kernels/update/elementwise.h"

namespace moebius::kernels {

template <class T>
void embedding_forward(const EmbeddingForward<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const std::int64_t tokens = op.y.shape[0], hidden = op.y.shape[1];
  const std::size_t row_bytes = std::size_t(hidden) * sizeof(T);
#pragma omp parallel for schedule(static) if (tokens > 64)
  for (std::int64_t t = 0; t < tokens; ++t) {
    const std::int64_t row = op.ids(t) - op.vocab_begin;
    T* y = op.y.data + t * hidden;
    if (row < 0 || row >= op.table.shape[0] || op.ids(t) < 0) {
      std::memset(y, 0, row_bytes);
    } else {
      std::memcpy(y, op.table.data + row * hidden, row_bytes);
    }
  }
}

/// Each thread reads all ids and adds the rows that are its own: every row is summed in token order.
template <class T>
void embedding_backward(const EmbeddingBackward<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const std::int64_t tokens = op.dy.shape[0], hidden = op.dy.shape[1];
  if (op.into == Into::overwrite) fill(op.dtable.flat(), 0.0f);
#pragma omp parallel if (tokens > 64)
  {
    const std::int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
    for (std::int64_t t = 0; t < tokens; ++t) {
      const std::int64_t row = op.ids(t) - op.vocab_begin;
      if (op.ids(t) < 0 || row < 0 || row >= op.dtable.shape[0] || row % threads != thread) continue;
      const T* dy = op.dy.data + t * hidden;
      float* sum = op.dtable.data + row * hidden;
#pragma omp simd
      for (std::int64_t c = 0; c < hidden; ++c) sum[c] += float(dy[c]);
    }
  }
}

template void embedding_forward(const EmbeddingForward<float, Space::host>&, Queue<Space::host>);
template void embedding_backward(const EmbeddingBackward<float, Space::host>&, Queue<Space::host>);

}  // namespace moebius::kernels
