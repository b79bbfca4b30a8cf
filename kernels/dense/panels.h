#pragma once
#include <cstdint>

#include "kernels/numeric/vector.h"

/// The inside of every matrix product on the host: serial, for use in a parallel loop over tiles of the
/// result.
///
/// The right factor is packed into panels of kPanelColumns columns, each [depth][kPanelColumns]; the left one
/// is read in strips of up to kTileRows rows, so that a tile of strip x panel lives in registers (van Zee &
/// van de Geijn 2015, BLIS). An element of the result is one chain of multiply-adds over depth, in order, in
/// blocks of kDepthBlock: its value does not depend on where tiles begin, hence not on the number of threads.
namespace moebius::kernels {

inline constexpr std::int64_t kPanelColumns = 2 * kVectorWidth;
/// Two registers a row for sums, two for the panel, one for the strip, one spare.
inline constexpr std::int64_t kTileRows = kVectorRegisters == 32 ? 12 : 6;
inline constexpr std::int64_t kDepthBlock = 256;

/// A matrix to read: element (i, j) at data[i * row_stride + j * column_stride]; one of the strides is 1.
struct Factor {
  const float* data = nullptr;
  std::int64_t row_stride = 0, column_stride = 1;

  [[nodiscard]] Factor from(std::int64_t row, std::int64_t column) const {
    return {data + row * row_stride + column * column_stride, row_stride, column_stride};
  }
};

/// Floats that `depth` x `columns` take as panels.
[[nodiscard]] constexpr std::int64_t panels_size(std::int64_t depth, std::int64_t columns) {
  return depth * ((columns + kPanelColumns - 1) / kPanelColumns) * kPanelColumns;
}

/// Writes the panels of b [depth, columns]; columns that fill up the last panel are zeros.
void pack_panels(Factor b, std::int64_t depth, std::int64_t columns, float* panels);

struct Panels {
  const float* data;
  std::int64_t depth;  // with which they were packed
};

/// c = alpha * a * b + beta * c with b already in panels; depth is at most kDepthBlock.
struct PanelProduct {
  Factor a;       // [rows, depth]
  Panels panels;  // [depth or more, columns]
  float* c;       // [rows, columns]
  std::int64_t c_stride;
  std::int64_t rows, columns, depth;
  float alpha, beta;  // beta = 0: c is not read
};
void multiply(const PanelProduct& product);

/// c = alpha * a * b + beta * c. Up to kFewRows rows times a transposed right factor (decoding one token) are
/// plain dot products, because packing would cost more: cut no product into tiles of so few rows.
inline constexpr std::int64_t kFewRows = 4;
struct Product {
  Factor a, b;  // [rows, depth], [depth, columns]
  float* c;     // [rows, columns]
  std::int64_t c_stride;
  std::int64_t rows, columns, depth;
  float alpha, beta;
};
void multiply(const Product& product);

}  // namespace moebius::kernels
