#pragma once
#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "base/math.h"
#include "kernels/attention/attention.h"
#include "kernels/dense/panels.h"

/// What forward and backward of the host attention share: which segments there are, in which order threads
/// take them, and which keys a query sees. Host only.
namespace moebius::kernels {

inline constexpr std::int64_t kQueryBlock = 5 * kTileRows;
inline constexpr std::int64_t kKeyBlock = 4 * kPanelColumns;

/// One segment and one key head, with the query heads that read it.
struct AttentionTask {
  Range queries, keys;  // rows of q and of k
  std::int64_t kv_head;
  Mask mask;

  /// Keys 0 .. visible_keys(i) - 1 of the segment are seen by its query i.
  [[nodiscard]] std::int64_t visible_keys(std::int64_t query) const {
    if (mask == Mask::nothing) return keys.size();
    return query + 1 + keys.size() - queries.size();
  }
  /// The first query of the segment that sees `key`.
  [[nodiscard]] std::int64_t first_query(std::int64_t key) const {
    if (mask == Mask::nothing) return 0;
    return std::max<std::int64_t>(0, key - (keys.size() - queries.size()));
  }
};

using HostList = View<const std::int32_t, 1, Space::host>;

[[nodiscard]] inline Range segment_rows(const HostList& starts, const HostList& counts, std::int64_t n) {
  const std::int64_t begin = starts(n);
  return {begin, counts.empty() ? starts(n + 1) : begin + counts(n)};
}
[[nodiscard]] inline Range queries_of(const Segments<Space::host>& segments, std::int64_t n) {
  return segment_rows(segments.query_starts, segments.query_counts, n);
}
[[nodiscard]] inline Range keys_of(const Segments<Space::host>& segments, std::int64_t n) {
  return segment_rows(segments.key_starts, segments.key_counts, n);
}
/// The queries that see a key.
[[nodiscard]] inline Range seeing_queries_of(const Segments<Space::host>& segments, std::int64_t n) {
  return keys_of(segments, n).size() == 0 ? Range{} : queries_of(segments, n);
}

/// Throws ShapeError unless segments follow each other inside q and k, each with as many keys as queries or
/// more where the order is causal.
inline void expect_segments(const Segments<Space::host>& segments, std::int64_t query_rows,
                            std::int64_t key_rows) {
  Range last_queries, last_keys;
  for (std::int64_t n = 0; n + 1 < segments.query_starts.shape[0]; ++n) {
    const Range queries = queries_of(segments, n), keys = keys_of(segments, n);
    const bool follows = queries.begin >= last_queries.end && keys.begin >= last_keys.end;
    const bool fits = queries.end <= query_rows && keys.end <= key_rows && keys.size() >= 0 &&
                      (segments.mask == Mask::nothing || keys.size() >= queries.size());
    if (!follows || !fits || queries.size() < 0) {
      throw ShapeError("attention.segments: number " + std::to_string(n) + " has queries " +
                       std::to_string(queries.begin) + " to " + std::to_string(queries.end) + " of " +
                       std::to_string(query_rows) + " and keys " + std::to_string(keys.begin) + " to " +
                       std::to_string(keys.end) + " of " + std::to_string(key_rows));
    }
    last_queries = queries;
    last_keys = keys;
  }
}

/// All tasks with work, the largest first, so that a parallel loop over them ends evenly.
[[nodiscard]] inline std::vector<AttentionTask> attention_tasks(const Segments<Space::host>& segments,
                                                                std::int64_t kv_heads) {
  std::vector<AttentionTask> tasks;
  for (std::int64_t n = 0; n + 1 < segments.query_starts.shape[0]; ++n) {
    const Range queries = seeing_queries_of(segments, n);
    for (std::int64_t h = 0; h < kv_heads && queries.size() > 0; ++h)
      tasks.push_back({queries, keys_of(segments, n), h, segments.mask});
  }
  std::stable_sort(tasks.begin(), tasks.end(), [](const AttentionTask& a, const AttentionTask& b) {
    return a.queries.size() * a.keys.size() > b.queries.size() * b.keys.size();
  });
  return tasks;
}

inline void clear_rows(const Matrix<float, Space::host>& matrix, Range rows, float value = 0) {
  for (std::int64_t row = rows.begin; row < rows.end; ++row)
    std::fill_n(matrix.row(row), matrix.columns, value);
}

/// Zeros, or another value, in the rows that no range owns; ranges rise.
inline void clear_between(const std::vector<Range>& owned, const Matrix<float, Space::host>& matrix,
                          float value = 0) {
  std::int64_t row = 0;
  for (const Range& range : owned) {
    if (range.size() == 0) continue;
    clear_rows(matrix, {row, range.begin}, value);
    row = range.end;
  }
  clear_rows(matrix, {row, matrix.rows}, value);
}

/// Room for floats, not initialised.
class FloatBuffer {
 public:
  explicit FloatBuffer(std::int64_t count)
      : data_(std::make_unique_for_overwrite<float[]>(std::size_t(count))) {}
  float* get() { return data_.get(); }

 private:
  std::unique_ptr<float[]> data_;
};

}  // namespace moebius::kernels
