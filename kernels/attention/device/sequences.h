#pragma once
#include <array>

#include "base/bf16.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// What stands around cuDNN's attention of packed sequences: the lists that tell it where they lie, and the
/// rows that it leaves alone.
namespace moebius::kernels {

using Starts = View<const std::int32_t, 1, Space::device>;  // [segments + 1], rising

/// Different widths of rows in one operation, at most: q, k, v, y, dy, stats, dv.
inline constexpr int kMostRowWidths = 7;

/// Where each sequence begins in a tensor whose rows lie `width` elements apart, for several widths.
/// Sequences behind the segments are one row of padding each.
struct SequenceLists {
  Starts starts;
  std::int64_t sequences = 0;                         // segments or more
  std::array<std::int64_t, kMostRowWidths> widths{};  // elements
  int width_count = 0;
  View<std::int32_t, 1, Space::device> lengths;  // [sequences]; rows
  View<std::int64_t, 2, Space::device> offsets;  // [widths, sequences + 1]; elements
};
void list_sequences(const SequenceLists&, Queue<Space::device>);

/// The same for Mask::nothing, where queries and keys have rows of their own.
struct BlockLists {
  Starts query_starts, key_starts, query_counts, key_counts;
  std::array<std::int64_t, kMostRowWidths> widths{};  // elements
  std::array<bool, kMostRowWidths> of_keys{};         // or of queries
  int width_count = 0;
  View<std::int32_t, 2, Space::device> lengths;  // [2, segments]; queries, then keys
  View<std::int64_t, 2, Space::device> offsets;  // [widths, segments + 1]; elements
};
void list_blocks(const BlockLists&, Queue<Space::device>);

/// Zeros in the rows of y and log_sum_exp (or empty) that no segment owns.
struct ClearUnowned {
  Starts starts;
  Matrix<bf16, Space::device> y;
  View<float, 2, Space::device> log_sum_exp;
};
void clear_unowned(const ClearUnowned&, Queue<Space::device>);

/// Zeros in the rows of a matrix that no segment owns, wherever they lie; -infinity in those of log_sum_exp
/// (or empty).
struct ClearGaps {
  Starts starts, counts;  // [segments + 1], [segments]
  Matrix<bf16, Space::device> matrix;
  View<float, 2, Space::device> log_sum_exp;
};
void clear_gaps(const ClearGaps&, Queue<Space::device>);

/// values -> dv; zeros in the rows of dq, dk and dv that no segment owns. All rows are of 16-byte packs.
struct FinishGradients {
  Starts starts;
  View<const bf16, 2, Space::device> values;  // [rows, kv_heads * head_dim]
  Matrix<bf16, Space::device> dq, dk, dv;     // as many rows
};
void finish_gradients(const FinishGradients&, Queue<Space::device>);

}  // namespace moebius::kernels
