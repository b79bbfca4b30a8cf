#include <limits>

#include "base/math.h"
#include "kernels/device/check.h"
#include "kernels/loss/cross_entropy.h"
#include "kernels/numeric/exp.cuh"
#include "kernels/numeric/raw.cuh"

namespace moebius::kernels {
namespace {

constexpr int kThreads = 512;  // a block a row
constexpr int kBatch = 4;      // loads in flight

/// A row that need not begin on 16 bytes: single numbers up to where it does, packs of 16 bytes, single
/// numbers.
struct RowParts {
  int head = 0;
  std::int64_t packs = 0, tail_begin = 0;
};

template <class T>
__device__ __forceinline__ RowParts parts_of(const T* row, std::int64_t columns) {
  const int past = int(reinterpret_cast<std::uintptr_t>(row) % 16 / sizeof(T));
  RowParts parts;
  parts.head = int(min(std::int64_t(past == 0 ? 0 : kPack<T> - past), columns));
  parts.packs = (columns - parts.head) / kPack<T>;
  parts.tail_begin = parts.head + parts.packs * kPack<T>;
  return parts;
}

/// The largest of some numbers, and sum_i exp(x_i - highest). Starts at a finite number below all others, so
/// that columns of -infinity add nothing.
struct RunningSum {
  float highest = -std::numeric_limits<float>::max(), sum = 0;

  /// Makes the sum relative to another maximum, which is not below this one.
  __device__ __forceinline__ void raise_to(float other) {
    if (other > highest) sum *= exp_approx(highest - other), highest = other;
  }
  __device__ __forceinline__ void add(float x) {
    raise_to(x);
    sum += exp_approx(x - highest);
  }
};

template <class T>
__device__ __forceinline__ void add_packs(RunningSum& running, const T* packs, std::int64_t count) {
  constexpr int kWidth = kPack<T>;
  for (std::int64_t begin = threadIdx.x; begin < count; begin += kBatch * kThreads) {
    Raw<T, kWidth> raws[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const std::int64_t pack = begin + b * kThreads;
      raws[b] = load_raw_if<kWidth>(pack < count, packs + pack * kWidth);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (begin + b * kThreads >= count) continue;
      float highest = running.highest, sum = 0;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) highest = fmaxf(highest, raws[b].value(i));
      running.raise_to(highest);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sum += exp_approx(raws[b].value(i) - running.highest);
      running.sum += sum;
    }
  }
}

__device__ __forceinline__ float block_max(float value) {
  __shared__ float partial[kThreads / 32];
  value = warp_max(value);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float highest = partial[0];
#pragma unroll
  for (int warp = 1; warp < kThreads / 32; ++warp) highest = fmaxf(highest, partial[warp]);
  return highest;
}

/// Rows from the last to the first: the product that made the logits has left its last rows in L2, this
/// leaves the first ones there for the gradient.
template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    statistics_kernel(CrossEntropyStatistics<T, Space::device> op) {
  const std::int64_t t = op.logits.shape[0] - 1 - blockIdx.x, columns = op.logits.shape[1];
  const std::int64_t label = op.labels(t);
  if (label < 0) {
    if (threadIdx.x == 0) op.row_max(t) = op.label_logit(t) = 0, op.sum_exp(t) = 1;
    return;
  }
  const T* row = op.logits.data + t * columns;
  const RowParts parts = parts_of(row, columns);
  RunningSum running;
  if (int(threadIdx.x) < parts.head) running.add(to_float(row[threadIdx.x]));
  add_packs(running, row + parts.head, parts.packs);
  const std::int64_t last = parts.tail_begin + threadIdx.x;  // the tail is shorter than a pack
  if (last < columns) running.add(to_float(row[last]));
  const float highest = block_max(running.highest);
  running.raise_to(highest);
  const float sum = block_sum<kThreads>(running.sum);
  if (threadIdx.x > 0) return;
  const std::int64_t column = label - op.vocab_begin;
  op.row_max(t) = highest;
  op.sum_exp(t) = sum;
  op.label_logit(t) = column >= 0 && column < columns ? to_float(row[column]) : 0.0f;
}

/// What turns a row's logits into their gradient.
struct RowGradient {
  float highest, factor, weight;
  std::int64_t label;  // column of the label, if this rank has it

  [[nodiscard]] __device__ __forceinline__ float slope(float logit) const {
    return exp_approx(logit - highest) * factor;
  }
};

template <class T>
__device__ __forceinline__ void replace_packs(const RowGradient& gradient, T* packs, std::int64_t count,
                                              std::int64_t first_column) {
  constexpr int kWidth = kPack<T>;
  for (std::int64_t begin = threadIdx.x; begin < count; begin += kBatch * kThreads) {
    Raw<T, kWidth> raws[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const std::int64_t pack = begin + b * kThreads;
      raws[b] = load_raw_if<kWidth>(pack < count, packs + pack * kWidth);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const std::int64_t pack = begin + b * kThreads;
      if (pack >= count) continue;
      float slopes[kWidth];
#pragma unroll
      for (int i = 0; i < kWidth; ++i) slopes[i] = gradient.slope(raws[b].value(i));
      const std::int64_t label = gradient.label - first_column - pack * kWidth;
      if (label >= 0 && label < kWidth) {
#pragma unroll
        for (int i = 0; i < kWidth; ++i) slopes[i] -= i == label ? gradient.weight : 0.0f;
      }
      store_raw(packs + pack * kWidth, to_raw<T>(slopes));
    }
  }
}

template <class T>
__device__ __forceinline__ void replace_one(const RowGradient& gradient, T* row, std::int64_t column) {
  const float slope = gradient.slope(to_float(row[column]));
  row[column] = from_float<T>(slope - (column == gradient.label ? gradient.weight : 0.0f));
}

template <class T>
__device__ void clear_row(T* row, const RowParts& parts, std::int64_t columns) {
  if (int(threadIdx.x) < parts.head) row[threadIdx.x] = from_float<T>(0);
  T* packs = row + parts.head;
  for (std::int64_t pack = threadIdx.x; pack < parts.packs; pack += kThreads) {
    store_raw(packs + pack * kPack<T>, Raw<T, kPack<T>>());
  }
  const std::int64_t last = parts.tail_begin + threadIdx.x;
  if (last < columns) row[last] = from_float<T>(0);
}

template <class T>
__global__ void __launch_bounds__(kThreads, 2) gradient_kernel(CrossEntropyGradient<T, Space::device> op) {
  const std::int64_t t = blockIdx.x, columns = op.logits.shape[1], label = op.labels(t);
  T* row = op.logits.data + t * columns;
  const RowParts parts = parts_of(row, columns);
  if (label < 0) return clear_row(row, parts, columns);
  const float weight = op.weights(t);
  const RowGradient gradient{.highest = op.row_max(t),
                             .factor = weight / op.sum_exp(t),
                             .weight = weight,
                             .label = label - op.vocab_begin};
  if (int(threadIdx.x) < parts.head) replace_one(gradient, row, threadIdx.x);
  replace_packs(gradient, row + parts.head, parts.packs, parts.head);
  const std::int64_t last = parts.tail_begin + threadIdx.x;
  if (last < columns) replace_one(gradient, row, last);
}

constexpr int kTokenThreads = 256;  // a thread a token

__global__ void __launch_bounds__(kTokenThreads) rescale_kernel(CrossEntropyRescale<Space::device> op) {
  const std::int64_t t = std::int64_t(blockIdx.x) * kTokenThreads + threadIdx.x;
  if (t < op.sum_exp.shape[0]) op.sum_exp(t) *= expf(op.local_max(t) - op.row_max(t));
}

__global__ void __launch_bounds__(kTokenThreads)
    log_probability_kernel(CrossEntropyLogProbability<Space::device> op) {
  const std::int64_t t = std::int64_t(blockIdx.x) * kTokenThreads + threadIdx.x;
  if (t >= op.log_probability.shape[0]) return;
  const float value = op.label_logit(t) - op.row_max(t) - logf(op.sum_exp(t));
  op.log_probability(t) = op.labels(t) < 0 ? 0.0f : value;
}

}  // namespace

template <class T>
void cross_entropy_statistics(const CrossEntropyStatistics<T, Space::device>& op,
                              Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t tokens = op.logits.shape[0];
  if (tokens == 0) return;
  statistics_kernel<<<unsigned(tokens), kThreads, 0, queue.stream>>>(op);
  check(cudaGetLastError());
}

void cross_entropy_rescale(const CrossEntropyRescale<Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t tokens = op.sum_exp.shape[0];
  if (tokens == 0) return;
  rescale_kernel<<<unsigned(divide_up(tokens, kTokenThreads)), kTokenThreads, 0, queue.stream>>>(op);
  check(cudaGetLastError());
}

void cross_entropy_log_probability(const CrossEntropyLogProbability<Space::device>& op,
                                   Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t tokens = op.log_probability.shape[0];
  if (tokens == 0) return;
  log_probability_kernel<<<unsigned(divide_up(tokens, kTokenThreads)), kTokenThreads, 0, queue.stream>>>(op);
  check(cudaGetLastError());
}

template <class T>
void cross_entropy_gradient(const CrossEntropyGradient<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  if (op.logits.empty()) return;
  gradient_kernel<<<unsigned(op.logits.shape[0]), kThreads, 0, queue.stream>>>(op);
  check(cudaGetLastError());
}

template void cross_entropy_statistics(const CrossEntropyStatistics<float, Space::device>&,
                                       Queue<Space::device>);
template void cross_entropy_statistics(const CrossEntropyStatistics<bf16, Space::device>&,
                                       Queue<Space::device>);
template void cross_entropy_gradient(const CrossEntropyGradient<float, Space::device>&, Queue<Space::device>);
template void cross_entropy_gradient(const CrossEntropyGradient<bf16, Space::device>&, Queue<Space::device>);

}  // namespace moebius::kernels
