#pragma once
#include <algorithm>
#include <cstdint>

#include "base/math.h"
#include "kernels/dense/panels.h"

/// How a product is cut into tiles for a parallel loop. Host only. Tiles do not change any element's value
/// (see panels.h), so the number of threads may decide.
namespace moebius::kernels {

struct TileGrid {
  std::int64_t rows, columns;            // extents of the whole result
  std::int64_t row_parts, column_parts;  // tiles along each

  [[nodiscard]] std::int64_t count() const { return row_parts * column_parts; }
  [[nodiscard]] Range row_range(std::int64_t tile) const {
    return balanced_part(rows, row_parts, tile % row_parts);
  }
  /// In whole panels, but for the last.
  [[nodiscard]] Range column_range(std::int64_t tile) const {
    const Range panels = balanced_part(divide_up(columns, kPanelColumns), column_parts, tile / row_parts);
    return {panels.begin * kPanelColumns, std::min(panels.end * kPanelColumns, columns)};
  }
};

/// At least `wanted` tiles where the result is large enough. Tiles are up to 8 panels wide, and tall, because
/// each packs its part of the right factor for itself; never less than 4 strips tall unless the result is.
[[nodiscard]] inline TileGrid tile_grid(std::int64_t rows, std::int64_t columns, std::int64_t wanted) {
  if (rows == 0 || columns == 0) return {rows, columns, 0, 0};
  const std::int64_t panels = divide_up(columns, kPanelColumns);
  std::int64_t column_parts = divide_up(panels, 8);
  const std::int64_t row_parts = std::clamp<std::int64_t>(divide_up(wanted, column_parts), 1,
                                                          std::max<std::int64_t>(rows / (4 * kTileRows), 1));
  if (row_parts * column_parts < wanted) column_parts = std::min(divide_up(wanted, row_parts), panels);
  return {rows, columns, row_parts, column_parts};
}

/// The tile of `whole` that `rows` and `columns` cut out.
[[nodiscard]] inline Product tile_of(const Product& whole, Range rows, Range columns) {
  Product tile = whole;
  tile.a = whole.a.from(rows.begin, 0);
  tile.b = whole.b.from(0, columns.begin);
  tile.c = whole.c + rows.begin * whole.c_stride + columns.begin;
  tile.rows = rows.size();
  tile.columns = columns.size();
  return tile;
}

/// Below this many multiply-adds a second thread costs more than it brings (about 10 us of one core).
inline constexpr std::int64_t kParallelWork = std::int64_t{1} << 20;

}  // namespace moebius::kernels
