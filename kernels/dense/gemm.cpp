#include "kernels/dense/gemm.h"

#include <omp.h>

#include "kernels/dense/tiles.h"

namespace moebius::kernels {
namespace {

Factor factor(const Matrix<const float, Space::host>& matrix, Transpose transpose) {
  if (transpose == Transpose::yes) return {matrix.data, 1, matrix.stride};
  return {matrix.data, matrix.stride, 1};
}

}  // namespace

template <class T, class Out>
void gemm(const Gemm<T, Space::host, Out>& op, Queue<Space::host>) {
  expect_shapes(op);
  const Product whole{.a = factor(op.a, op.transpose_a),
                      .b = factor(op.b, op.transpose_b),
                      .c = op.c.data,
                      .c_stride = op.c.stride,
                      .rows = op.c.rows,
                      .columns = op.c.columns,
                      .depth = op.transpose_a == Transpose::yes ? op.a.rows : op.a.columns,
                      .alpha = op.alpha,
                      .beta = op.beta};
  const bool is_small = whole.rows * whole.columns * whole.depth < kParallelWork;
  const TileGrid grid = tile_grid(whole.rows, whole.columns, is_small ? 1 : 4 * omp_get_max_threads());
#pragma omp parallel for schedule(dynamic) if (!is_small)
  for (std::int64_t tile = 0; tile < grid.count(); ++tile) {
    multiply(tile_of(whole, grid.row_range(tile), grid.column_range(tile)));
  }
}

template void gemm(const Gemm<float, Space::host, float>&, Queue<Space::host>);

}  // namespace moebius::kernels
