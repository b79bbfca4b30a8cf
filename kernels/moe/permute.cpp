#include "kernels/moe/permute.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace moebius::kernels {
namespace {

template <int Rank>
void expect_indices(const char* name, const View<const std::int32_t, Rank, Space::host>& indices,
                    std::int64_t end) {
  for (std::int64_t i = 0; i < indices.size(); ++i) {
    if (indices.data[i] >= -1 && indices.data[i] < end) continue;
    throw ShapeError(std::string(name) + ": " + std::to_string(indices.data[i]) + " at " + std::to_string(i) +
                     ", not in [-1, " + std::to_string(end) + ")");
  }
}

/// The group of assignment i, -1 where it has no row.
std::int32_t group_of(const PermutePlan<Space::host>& op, std::int64_t i) {
  const auto group_at = [&](std::int64_t at) {
    const std::int64_t id = op.ids.data[at] - op.first, group = id / op.experts_per_group;
    return op.ids.data[at] < 0 || id < 0 || group >= op.starts.shape[0] - 1 ? -1 : std::int32_t(group);
  };
  const std::int32_t group = group_at(i);
  if (group < 0 || op.experts_per_group == 1) return group;  // a token's experts differ
  for (std::int64_t earlier = i - i % op.ids.shape[1]; earlier < i; ++earlier) {
    if (group_at(earlier) == group) return -1;
  }
  return group;
}

}  // namespace

void permute_plan(const PermutePlan<Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const std::int64_t groups = op.starts.shape[0] - 1, count = op.ids.size();
  std::vector<std::int32_t> next(std::size_t(groups), 0);  // counts, then each group's next free row
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int32_t group = op.positions.data[i] = group_of(op, i);
    if (group >= 0) ++next[std::size_t(group)];
  }
  op.starts(0) = 0;
  for (std::int64_t g = 0; g < groups; ++g) {
    op.starts(g + 1) = op.starts(g) + next[std::size_t(g)];
    next[std::size_t(g)] = op.starts(g);
  }
  const std::int64_t room = op.assignments.size();
  if (room > 0 && op.starts(groups) > room) {
    throw ShapeError("permute.assignments: " + std::to_string(op.starts(groups)) + " rows in room for " +
                     std::to_string(room));
  }
  std::fill_n(op.assignments.data, room, -1);
  for (std::int64_t i = 0; i < count; ++i) {
    std::int32_t& position = op.positions.data[i];
    if (position < 0) continue;
    position = next[std::size_t(position)]++;
    if (room > 0) op.assignments(position) = std::int32_t(i);
  }
}

template <class T>
void gather_rows(const GatherRows<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  expect_indices("gather_rows.index", op.index, op.x.shape[0]);
  const std::int64_t rows = op.y.shape[0], width = op.y.shape[1];
#pragma omp parallel for schedule(static) if (rows * width > 16384)
  for (std::int64_t r = 0; r < rows; ++r) {
    T* y = op.y.data + r * width;
    if (op.index(r) < 0) {
      std::fill_n(y, width, T{});
    } else {
      std::copy_n(op.x.data + op.index(r) * width, width, y);
    }
  }
}

template <class T>
void spread_rows(const SpreadRows<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  expect_indices("spread_rows.index", op.index, op.y.shape[0]);
  const std::int64_t tokens = op.x.shape[0], width = op.x.shape[1];
#pragma omp parallel for schedule(static) if (tokens * width > 16384)
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t c = 0; c < op.index.shape[1]; ++c) {
      const std::int64_t row = op.index(t, c);
      if (row < 0) continue;
      std::copy_n(op.x.data + t * width, width, op.y.data + row * width);
    }
  }
}

template <class T>
void gather_sum(const GatherSum<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  expect_indices("gather_sum.index", op.index, op.x.shape[0]);
  const std::int64_t tokens = op.y.shape[0], width = op.y.shape[1];
  const std::int64_t choices = op.index.shape[1];
#pragma omp parallel if (tokens * width > 16384)
  {
    std::vector<float> sum(std::size_t(width), 0.0f);
#pragma omp for schedule(static)
    for (std::int64_t t = 0; t < tokens; ++t) {
      std::fill(sum.begin(), sum.end(), 0.0f);
      for (std::int64_t c = 0; c < choices; ++c) {
        if (op.index(t, c) < 0) continue;
        const T* x = op.x.data + op.index(t, c) * width;
#pragma omp simd
        for (std::int64_t i = 0; i < width; ++i) sum[std::size_t(i)] += float(x[i]);
      }
      for (std::int64_t i = 0; i < width; ++i) op.y(t, i) = T(sum[std::size_t(i)]);
    }
  }
}

template void gather_rows(const GatherRows<float, Space::host>&, Queue<Space::host>);
template void spread_rows(const SpreadRows<float, Space::host>&, Queue<Space::host>);
template void spread_rows(const SpreadRows<std::int32_t, Space::host>&, Queue<Space::host>);
template void gather_sum(const GatherSum<float, Space::host>&, Queue<Space::host>);

}  // namespace moebius::kernels
