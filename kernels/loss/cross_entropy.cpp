#include "kernels/loss/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/numeric/exp.h"
#include "kernels/numeric/vector.h"

namespace moebius::kernels {
namespace {

constexpr std::int64_t kBlock = 2048;  // columns: 8 KiB of logits

struct RowStatistics {
  float highest, sum_exp;
};

/// Maximum and sum of exponentials in one pass over memory: each block is read again only from the L1 cache.
RowStatistics row_statistics(const float* logits, std::int64_t columns) {
  float highest = -std::numeric_limits<float>::infinity();
  double sum = 0;
  for (std::int64_t begin = 0; begin < columns; begin += kBlock) {
    const std::int64_t end = std::min(columns, begin + kBlock);
    const float block_highest = largest(logits + begin, end - begin, highest);
    float block_sum = 0;
    if (block_highest > highest) {
      sum *= double(fast_exp(highest - block_highest));
      highest = block_highest;
    }
#pragma omp simd reduction(+ : block_sum)
    for (std::int64_t c = begin; c < end; ++c) block_sum += fast_exp(logits[c] - highest);
    sum += block_sum;
  }
  return {highest, float(sum)};
}

struct RowGradient {
  RowStatistics statistics;
  float weight;
  std::int64_t label;  // its column; outside the row where it is another rank's
};

template <class T>
void replace_by_gradient(T* row, std::int64_t columns, const RowGradient& gradient) {
  const float factor = gradient.weight / gradient.statistics.sum_exp, highest = gradient.statistics.highest;
  const bool is_here = gradient.label >= 0 && gradient.label < columns;
  const float label_logit = is_here ? float(row[gradient.label]) : 0.0f;
#pragma omp simd
  for (std::int64_t c = 0; c < columns; ++c) row[c] = T(fast_exp(float(row[c]) - highest) * factor);
  if (is_here) row[gradient.label] = T(fast_exp(label_logit - highest) * factor - gradient.weight);
}

}  // namespace

template <class T>
void cross_entropy_statistics(const CrossEntropyStatistics<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const std::int64_t tokens = op.logits.shape[0], columns = op.logits.shape[1];
#pragma omp parallel for schedule(dynamic, 4) if (tokens * columns > 16384)
  for (std::int64_t t = 0; t < tokens; ++t) {
    op.row_max(t) = op.label_logit(t) = 0;
    op.sum_exp(t) = 1;
    if (op.labels(t) < 0) continue;
    const RowStatistics row = row_statistics(&op.logits(t, 0), columns);
    op.row_max(t) = row.highest;
    op.sum_exp(t) = row.sum_exp;
    const std::int64_t column = op.labels(t) - op.vocab_begin;
    if (column >= 0 && column < columns) op.label_logit(t) = op.logits(t, column);
  }
}

void cross_entropy_rescale(const CrossEntropyRescale<Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  for (std::int64_t t = 0; t < op.sum_exp.shape[0]; ++t)
    op.sum_exp(t) *= std::exp(op.local_max(t) - op.row_max(t));
}

void cross_entropy_log_probability(const CrossEntropyLogProbability<Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  for (std::int64_t t = 0; t < op.log_probability.shape[0]; ++t) {
    op.log_probability(t) =
        op.labels(t) < 0 ? 0 : op.label_logit(t) - op.row_max(t) - std::log(op.sum_exp(t));
  }
}

template <class T>
void cross_entropy_gradient(const CrossEntropyGradient<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const std::int64_t tokens = op.logits.shape[0], columns = op.logits.shape[1];
#pragma omp parallel for schedule(dynamic, 4) if (tokens * columns > 16384)
  for (std::int64_t t = 0; t < tokens; ++t) {
    T* row = &op.logits(t, 0);
    if (op.labels(t) < 0) {
      std::fill_n(row, columns, T(0.0f));
      continue;
    }
    replace_by_gradient(row, columns,
                        {.statistics = {op.row_max(t), op.sum_exp(t)},
                         .weight = op.weights(t),
                         .label = op.labels(t) - op.vocab_begin});
  }
}

template <class T>
void cross_entropy(const CrossEntropy<T, Space::host>& op, Queue<Space::host>) {
  expect_shapes(op);
  const std::int64_t tokens = op.logits.shape[0], columns = op.logits.shape[1];
#pragma omp parallel for schedule(dynamic, 4) if (tokens * columns > 16384)
  for (std::int64_t t = 0; t < tokens; ++t) {
    T* row = &op.logits(t, 0);
    const std::int64_t label = op.labels(t);
    if (label < 0) {
      std::fill_n(row, columns, T(0.0f));
      op.log_probability(t) = 0;
      continue;
    }
    const RowStatistics statistics = row_statistics(row, columns);
    const float label_logit = label < columns ? float(row[label]) : 0.0f;
    op.log_probability(t) = label_logit - statistics.highest - std::log(statistics.sum_exp);
    replace_by_gradient(row, columns, {.statistics = statistics, .weight = op.weights(t), .label = label});
  }
}

template void cross_entropy_statistics(const CrossEntropyStatistics<float, Space::host>&, Queue<Space::host>);
template void cross_entropy_gradient(const CrossEntropyGradient<float, Space::host>&, Queue<Space::host>);
template void cross_entropy(const CrossEntropy<float, Space::host>&, Queue<Space::host>);

}  // namespace moebius::kernels
