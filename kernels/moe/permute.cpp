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

}  // namespace

void permute_plan(const PermutePlan<Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const std::int64_t experts = op.starts.shape[0] - 1, top_k = op.ids.shape[1], count = op.ids.size();
  expect_indices("permute.ids", op.ids, experts);
  std::vector<std::int32_t> next(std::size_t(experts), 0);  // counts, then each expert's next free row
  for (std::int64_t i = 0; i < count; ++i) {
    if (op.ids.data[i] >= 0) ++next[std::size_t(op.ids.data[i])];
  }
  op.starts(0) = 0;
  for (std::int64_t e = 0; e < experts; ++e) {
    op.starts(e + 1) = op.starts(e) + next[std::size_t(e)];
    next[std::size_t(e)] = op.starts(e);
  }
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int32_t expert = op.ids.data[i];
    op.positions.data[i] = expert < 0 ? -1 : next[std::size_t(expert)]++;
    if (expert < 0) continue;
    op.sources(op.positions.data[i]) = std::int32_t(i / top_k);
    op.assignments(op.positions.data[i]) = std::int32_t(i);
  }
  for (std::int64_t row = op.starts(experts); row < count; ++row) op.sources(row) = op.assignments(row) = -1;
}

void regroup_plan(const RegroupPlan<Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const std::int64_t parts = op.counts.shape[0], groups = op.counts.shape[1];
  const std::int64_t rows = op.sources.shape[0];
  std::vector<std::int64_t> block_begin(std::size_t(parts * groups + 1), 0);
  for (std::int64_t block = 0; block < parts * groups; ++block) {
    block_begin[std::size_t(block + 1)] = block_begin[std::size_t(block)] + op.counts.data[block];
  }
  if (block_begin.back() > rows) {
    throw ShapeError("regroup.counts: " + std::to_string(block_begin.back()) + " rows in room for " +
                     std::to_string(rows));
  }
  std::fill_n(op.sources.data, rows, -1);
  std::fill_n(op.positions.data, rows, -1);
  std::int32_t row = 0;
  for (std::int64_t group = 0; group < groups; ++group) {
    op.starts(group) = row;
    for (std::int64_t part = 0; part < parts; ++part) {
      for (std::int64_t i = 0; i < op.counts(part, group); ++i, ++row) {
        const std::int64_t old = block_begin[std::size_t(part * groups + group)] + i;
        op.sources(row) = std::int32_t(old);
        op.positions(old) = row;
      }
    }
  }
  op.starts(groups) = row;
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
      if (!op.weights.empty()) op.row_weight(row) = op.weights(t, c);
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
template void gather_rows(const GatherRows<std::int32_t, Space::host>&, Queue<Space::host>);
template void spread_rows(const SpreadRows<float, Space::host>&, Queue<Space::host>);
template void gather_sum(const GatherSum<float, Space::host>&, Queue<Space::host>);

}  // namespace moebius::kernels
