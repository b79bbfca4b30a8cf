#include "kernels/dense/panels.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/math.h"

namespace moebius::kernels {
namespace {

constexpr std::int64_t kBlockColumns =
    8 * kPanelColumns;                               // with kDepthBlock: 256 KiB of panels in the L2 cache
constexpr std::int64_t kBlockRows = 16 * kTileRows;  // rows of the left factor kept beside them
constexpr std::int64_t kStripStride =
    kDepthBlock + 16;  // not a multiple of 4 KiB: rows in different cache sets

constexpr std::int64_t kStripFloats = kTileRows * kStripStride;

/// How a strip lies after packing. Both are plain copies of what lies contiguous in memory.
enum class StripOrder : std::uint8_t { by_row, by_depth };

template <StripOrder Order>
constexpr std::int64_t strip_index(std::int64_t row, std::int64_t depth) {
  return Order == StripOrder::by_row ? row * kStripStride + depth : depth * kTileRows + row;
}

/// Where a tile of the result goes.
struct TileTarget {
  float* c;
  std::int64_t stride, columns;  // columns that exist, up to the width of the tile
  float alpha, beta;
};

template <int Rows, int Vectors>
void store_tile(const Vector (&sums)[Rows][Vectors], const TileTarget& target) {
  const bool is_whole = target.columns == Vectors * kVectorWidth;
  for (int i = 0; i < Rows; ++i) {
    float* c = target.c + i * target.stride;
    alignas(64) float row[Vectors * kVectorWidth];
    for (int v = 0; v < Vectors; ++v) {
      Vector value = sums[i][v] * target.alpha;
      if (is_whole && target.beta != 0) value += load(c + v * kVectorWidth) * target.beta;
      store(is_whole ? c + v * kVectorWidth : row + v * kVectorWidth, value);
    }
    if (is_whole) continue;
    for (std::int64_t j = 0; j < target.columns; ++j) {
      c[j] = target.beta == 0 ? row[j] : row[j] + c[j] * target.beta;
    }
  }
}

template <int Rows, int Vectors, StripOrder Order>
void multiply_tile(const float* strip, const float* panel, std::int64_t depth, const TileTarget& target) {
  Vector sums[Rows][Vectors] = {};
  for (std::int64_t k = 0; k < depth; ++k) {
    Vector b[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) b[v] = load(panel + k * kPanelColumns + v * kVectorWidth);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const Vector a = broadcast(strip[strip_index<Order>(i, k)]);
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) sums[i][v] += a * b[v];
    }
  }
  store_tile<Rows, Vectors>(sums, target);
}

using TileFunction = void (*)(const float*, const float*, std::int64_t, const TileTarget&);

/// The tile functions of 1 to kTileRows rows; at [rows - 1].
template <int Vectors, StripOrder Order, std::size_t... Index>
constexpr std::array<TileFunction, sizeof...(Index)> tile_functions(std::index_sequence<Index...>) {
  return {multiply_tile<int(Index) + 1, Vectors, Order>...};
}
template <int Vectors, StripOrder Order>
constexpr auto kTileFunctions = tile_functions<Vectors, Order>(std::make_index_sequence<kTileRows>());

template <StripOrder Order>
void pack_strip(Factor a, std::int64_t rows, std::int64_t depth, float* strip) {
  if constexpr (Order == StripOrder::by_row) {
    for (std::int64_t i = 0; i < rows; ++i) {
      std::memcpy(strip + strip_index<Order>(i, 0), a.data + i * a.row_stride,
                  std::size_t(depth) * sizeof(float));
    }
  } else {
    for (std::int64_t k = 0; k < depth; ++k) {
      for (std::int64_t i = 0; i < rows; ++i)
        strip[strip_index<Order>(i, k)] = a.data[k * a.column_stride + i];
    }
  }
}

/// One block of rows against all panels: the panel stays in L1 while the strips pass by.
template <StripOrder Order>
void multiply_block(const PanelProduct& product) {
  alignas(64) float strips[kBlockRows / kTileRows * kStripFloats];
  const std::int64_t strip_count = divide_up(product.rows, kTileRows);
  const auto part = [&](std::int64_t s) { return balanced_part(product.rows, strip_count, s); };
  for (std::int64_t s = 0; s < strip_count; ++s) {
    const Range rows = part(s);
    pack_strip<Order>(product.a.from(rows.begin, 0), rows.size(), product.depth, strips + s * kStripFloats);
  }
  for (std::int64_t column = 0; column < product.columns; column += kPanelColumns) {
    const float* panel = product.panels.data + column * product.panels.depth;
    const std::int64_t columns = std::min(kPanelColumns, product.columns - column);
    const auto& functions = columns > kVectorWidth ? kTileFunctions<2, Order> : kTileFunctions<1, Order>;
    for (std::int64_t s = 0; s < strip_count; ++s) {
      const Range rows = part(s);
      functions[std::size_t(rows.size() - 1)](strips + s * kStripFloats, panel, product.depth,
                                              {product.c + rows.begin * product.c_stride + column,
                                               product.c_stride, columns, product.alpha, product.beta});
    }
  }
}

/// Swaps the upper right and lower left Half x Half quarters of each 2 Half x 2 Half square along the
/// diagonal.
template <std::size_t Half, std::size_t... Lane>
void swap_quarters(Vector (&rows)[kVectorWidth], std::index_sequence<Lane...>) {
  constexpr std::index_sequence<((Lane & Half) == 0 ? Lane : Lane - Half + kVectorWidth)...> upper_lanes;
  constexpr std::index_sequence<((Lane & Half) == 0 ? Lane + Half : Lane + kVectorWidth)...> lower_lanes;
#pragma GCC unroll 16
  for (std::size_t j = 0; j < kVectorWidth; ++j) {
    if ((j & Half) != 0) continue;
    const Vector upper = rows[j], lower = rows[j + Half];
    rows[j] = pick_lanes(upper, lower, upper_lanes);
    rows[j + Half] = pick_lanes(upper, lower, lower_lanes);
  }
}

/// to[k * kPanelColumns + j] = from[j * stride + k] for a square of kVectorWidth.
void transpose_square(const float* from, std::int64_t stride, float* to) {
  Vector rows[kVectorWidth];
  constexpr auto lanes = std::make_index_sequence<kVectorWidth>();
#pragma GCC unroll 16
  for (int j = 0; j < kVectorWidth; ++j) rows[j] = load(from + j * stride);
  if constexpr (kVectorWidth >= 16) swap_quarters<8>(rows, lanes);
  if constexpr (kVectorWidth >= 8) swap_quarters<4>(rows, lanes);
  swap_quarters<2>(rows, lanes);
  swap_quarters<1>(rows, lanes);
#pragma GCC unroll 16
  for (int k = 0; k < kVectorWidth; ++k) store(to + k * kPanelColumns, rows[k]);
}

/// A panel whose columns lie contiguous over depth in memory: the right factor is read transposed.
void pack_transposed(Factor b, std::int64_t depth, std::int64_t columns, float* panel) {
  std::int64_t j = 0;
  const std::int64_t whole_depth = depth / kVectorWidth * kVectorWidth;
  for (; j + kVectorWidth <= columns; j += kVectorWidth) {
    const float* from = b.data + j * b.column_stride;
    for (std::int64_t k = 0; k < whole_depth; k += kVectorWidth) {
      transpose_square(from + k, b.column_stride, panel + k * kPanelColumns + j);
    }
    for (std::int64_t k = whole_depth; k < depth; ++k) {
      for (std::int64_t i = 0; i < kVectorWidth; ++i)
        panel[k * kPanelColumns + j + i] = from[i * b.column_stride + k];
    }
  }
  for (; j < columns; ++j) {
    for (std::int64_t k = 0; k < depth; ++k) panel[k * kPanelColumns + j] = b.data[j * b.column_stride + k];
  }
}

void pack_copied(Factor b, std::int64_t depth, std::int64_t columns, float* panel) {
  for (std::int64_t k = 0; k < depth; ++k) {
    std::memcpy(panel + k * kPanelColumns, b.data + k * b.row_stride, std::size_t(columns) * sizeof(float));
  }
}

/// Rows of the left factor times four columns of the right one, both contiguous over depth.
void multiply_four_columns(const Product& product, std::int64_t column, std::int64_t columns) {
  const float* b[4];
  for (std::int64_t j = 0; j < 4; ++j) b[j] = product.b.from(0, column + std::min(j, columns - 1)).data;
  for (std::int64_t i = 0; i < product.rows; ++i) {
    const float* a = product.a.from(i, 0).data;
    float sums[4] = {};
    float &sum0 = sums[0], &sum1 = sums[1], &sum2 = sums[2], &sum3 = sums[3];
#pragma omp simd reduction(+ : sum0, sum1, sum2, sum3)
    for (std::int64_t k = 0; k < product.depth; ++k) {
      sum0 += a[k] * b[0][k];
      sum1 += a[k] * b[1][k];
      sum2 += a[k] * b[2][k];
      sum3 += a[k] * b[3][k];
    }
    float* c = product.c + i * product.c_stride + column;
    for (std::int64_t j = 0; j < columns; ++j) {
      c[j] = product.alpha * sums[j] + (product.beta == 0 ? 0 : product.beta * c[j]);
    }
  }
}

}  // namespace

void pack_panels(Factor b, std::int64_t depth, std::int64_t columns, float* panels) {
  for (std::int64_t column = 0; column < columns; column += kPanelColumns) {
    float* panel = panels + column * depth;
    const std::int64_t width = std::min(kPanelColumns, columns - column);
    if (width < kPanelColumns) std::fill_n(panel, depth * kPanelColumns, 0.0f);
    if (b.column_stride == 1) {
      pack_copied(b.from(0, column), depth, width, panel);
    } else {
      pack_transposed(b.from(0, column), depth, width, panel);
    }
  }
}

void multiply(const PanelProduct& product) {
  const auto block_function = product.a.column_stride == 1 ? multiply_block<StripOrder::by_row>
                                                           : multiply_block<StripOrder::by_depth>;
  for (std::int64_t row = 0; row < product.rows; row += kBlockRows) {
    PanelProduct block = product;
    block.a = product.a.from(row, 0);
    block.c = product.c + row * product.c_stride;
    block.rows = std::min(kBlockRows, product.rows - row);
    block_function(block);
  }
}

void multiply(const Product& product) {
  const bool is_contiguous = product.a.column_stride == 1 && product.b.row_stride == 1;
  if ((product.rows <= kFewRows && is_contiguous) || product.depth == 0) {
    for (std::int64_t column = 0; column < product.columns; column += 4) {
      multiply_four_columns(product, column, std::min<std::int64_t>(4, product.columns - column));
    }
    return;
  }
  alignas(64) float panels[panels_size(kDepthBlock, kBlockColumns)];
  for (std::int64_t column = 0; column < product.columns; column += kBlockColumns) {
    const std::int64_t columns = std::min(kBlockColumns, product.columns - column);
    for (std::int64_t k = 0; k < product.depth; k += kDepthBlock) {
      const std::int64_t depth = std::min(kDepthBlock, product.depth - k);
      pack_panels(product.b.from(k, column), depth, columns, panels);
      multiply(PanelProduct{.a = product.a.from(0, k),
                            .panels = {panels, depth},
                            .c = product.c + column,
                            .c_stride = product.c_stride,
                            .rows = product.rows,
                            .columns = columns,
                            .depth = depth,
                            .alpha = product.alpha,
                            .beta = k == 0 ? product.beta : 1.0f});
    }
  }
}

}  // namespace moebius::kernels
