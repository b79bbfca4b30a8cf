#pragma once
#include <cstdint>

namespace moebius::data {

/// This rank's share of some rows: every `of`-th block of rows, from block `index` on.
struct Share {
  static constexpr std::int64_t kBlock = 64;

  std::int64_t index = 0, of = 1;
  std::int64_t block = kBlock;  // rows that one rank takes in a row

  /// Whether the row of this number, from 0, belongs to the share.
  [[nodiscard]] constexpr bool holds(std::int64_t row) const { return row / block % of == index; }
  /// Whether any row of [begin, end) does.
  [[nodiscard]] constexpr bool meets(std::int64_t begin, std::int64_t end) const {
    if (begin >= end) return false;
    const std::int64_t first = begin / block, last = (end - 1) / block;
    return first + (index - first % of + of) % of <= last;
  }
};

}  // namespace moebius::data
