#include "kernels/moe/grouped_gemm.h"

#include <algorithm>
#include <omp.h>
#include <vector>

#include "kernels/dense/tiles.h"

namespace moebius::kernels {
namespace {

using Starts = View<const std::int32_t, 1, Space::host>;

void expect_rising(const Starts& starts, std::int64_t rows) {
  for (std::int64_t g = 0; g + 1 < starts.shape[0]; ++g) {
    if (starts(g) <= starts(g + 1)) continue;
    throw ShapeError("grouped_gemm.starts: falls from " + std::to_string(starts(g)) + " to " +
                     std::to_string(starts(g + 1)) + " at group " + std::to_string(g));
  }
  const std::int64_t last = starts(starts.shape[0] - 1);
  if (starts(0) < 0 || last > rows) {
    throw ShapeError("grouped_gemm.starts: from " + std::to_string(starts(0)) + " to " +
                     std::to_string(last) + " in " + std::to_string(rows) + " rows");
  }
}

/// The product of each group, cut into tiles, as one parallel loop: small groups fill the threads together.
void multiply_groups(const std::vector<Product>& products) {
  std::int64_t work = 0, groups = 0;
  for (const Product& product : products) {
    const std::int64_t size = product.rows * product.columns * product.depth;
    work += size;
    groups += size > 0 ? 1 : 0;
  }
  const bool is_small = work < kParallelWork;
  const std::int64_t wanted =
      is_small ? 1 : divide_up(std::int64_t{4} * omp_get_max_threads(), std::max<std::int64_t>(groups, 1));
  std::vector<Product> tiles;
  for (const Product& product : products) {
    const TileGrid grid = tile_grid(product.rows, product.columns, wanted);
    for (std::int64_t t = 0; t < grid.count(); ++t) {
      tiles.push_back(tile_of(product, grid.row_range(t), grid.column_range(t)));
    }
  }
#pragma omp parallel for schedule(dynamic) if (!is_small)
  for (std::size_t t = 0; t < tiles.size(); ++t) multiply(tiles[t]);
}

}  // namespace

template <class T>
void grouped_gemm_forward(const GroupedGemmForward<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  expect_rising(op.starts, op.x.shape[0]);
  const std::int64_t groups = op.w.shape[0], out = op.w.shape[1], in = op.w.shape[2];
  std::vector<Product> products;
  for (std::int64_t g = 0; g < groups; ++g) {
    products.push_back({.a = {op.x.data + op.starts(g) * in, in, 1},
                        .b = {op.w.data + g * out * in, 1, in},
                        .c = op.y.data + op.starts(g) * out,
                        .c_stride = out,
                        .rows = op.starts(g + 1) - op.starts(g),
                        .columns = out,
                        .depth = in,
                        .alpha = 1,
                        .beta = 0});
  }
  multiply_groups(products);
}

template <class T>
void grouped_gemm_input_gradient(const GroupedGemmInputGradient<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  expect_rising(op.starts, op.dy.shape[0]);
  const std::int64_t groups = op.w.shape[0], out = op.w.shape[1], in = op.w.shape[2];
  std::vector<Product> products;
  for (std::int64_t g = 0; g < groups; ++g) {
    products.push_back({.a = {op.dy.data + op.starts(g) * out, out, 1},
                        .b = {op.w.data + g * out * in, in, 1},
                        .c = op.dx.data + op.starts(g) * in,
                        .c_stride = in,
                        .rows = op.starts(g + 1) - op.starts(g),
                        .columns = in,
                        .depth = out,
                        .alpha = 1,
                        .beta = 0});
  }
  multiply_groups(products);
}

template <class T>
void grouped_gemm_weight_gradient(const GroupedGemmWeightGradient<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  expect_rising(op.starts, op.dy.shape[0]);
  const std::int64_t groups = op.dw.shape[0], out = op.dw.shape[1], in = op.dw.shape[2];
  std::vector<Product> products;
  for (std::int64_t g = 0; g < groups; ++g) {
    const bool is_empty = op.starts(g) == op.starts(g + 1);
    if (is_empty && op.into == Into::overwrite) std::fill_n(op.dw.data + g * out * in, out * in, 0.0f);
    if (is_empty) continue;
    products.push_back({.a = {op.dy.data + op.starts(g) * out, 1, out},
                        .b = {op.x.data + op.starts(g) * in, in, 1},
                        .c = op.dw.data + g * out * in,
                        .c_stride = in,
                        .rows = out,
                        .columns = in,
                        .depth = op.starts(g + 1) - op.starts(g),
                        .alpha = 1,
                        .beta = op.into == Into::add ? 1.0f : 0.0f});
  }
  multiply_groups(products);
}

template void grouped_gemm_forward(const GroupedGemmForward<float, Space::host>&, Queue<Space::host>);
template void grouped_gemm_input_gradient(const GroupedGemmInputGradient<float, Space::host>&,
                                          Queue<Space::host>);
template void grouped_gemm_weight_gradient(const GroupedGemmWeightGradient<float, Space::host>&,
                                           Queue<Space::host>);

}  // namespace moebius::kernels
