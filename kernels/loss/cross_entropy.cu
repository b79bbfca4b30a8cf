#include <limits>

#include "base/math.h"
#include "kernels/device/check.h"
#include "kernels/device/device.h"
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

/// Hands each pack to `keep(pack, raw)` too.
template <int Threads, class T, class Keep>
__device__ __forceinline__ void add_packs(RunningSum& running, const T* packs, std::int64_t count,
                                          Keep keep) {
  constexpr int kWidth = kPack<T>;
  for (std::int64_t begin = threadIdx.x; begin < count; begin += kBatch * Threads) {
    Raw<T, kWidth> raws[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const std::int64_t pack = begin + b * Threads;
      raws[b] = load_raw_if<kWidth>(pack < count, packs + pack * kWidth);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (begin + b * Threads >= count) continue;
      keep(begin + b * Threads, raws[b]);
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

template <int Threads>
__device__ __forceinline__ float block_max(float value) {
  __shared__ float partial[Threads / 32];
  value = warp_max(value);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float highest = partial[0];
#pragma unroll
  for (int warp = 1; warp < Threads / 32; ++warp) highest = fmaxf(highest, partial[warp]);
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
  add_packs<kThreads>(running, row + parts.head, parts.packs, [](std::int64_t, const auto&) {});
  const std::int64_t last = parts.tail_begin + threadIdx.x;  // the tail is shorter than a pack
  if (last < columns) running.add(to_float(row[last]));
  const float highest = block_max<kThreads>(running.highest);
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

/// `column`: of the pack's first number.
template <class T>
__device__ __forceinline__ void replace_pack(const RowGradient& gradient, const Raw<T, kPack<T>>& logits,
                                             std::int64_t column, T* pack) {
  constexpr int kWidth = kPack<T>;
  float slopes[kWidth];
#pragma unroll
  for (int i = 0; i < kWidth; ++i) slopes[i] = gradient.slope(logits.value(i));
  const std::int64_t label = gradient.label - column;
  if (label >= 0 && label < kWidth) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) slopes[i] -= i == label ? gradient.weight : 0.0f;
  }
  store_raw(pack, to_raw<T>(slopes));
}

/// Packs `first` to `count` of a row, whose columns begin at `first_column`.
template <int Threads, class T>
__device__ __forceinline__ void replace_packs(const RowGradient& gradient, T* packs, Range range,
                                              std::int64_t first_column) {
  constexpr int kWidth = kPack<T>;
  for (std::int64_t begin = range.begin + threadIdx.x; begin < range.end; begin += kBatch * Threads) {
    Raw<T, kWidth> raws[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const std::int64_t pack = begin + b * Threads;
      raws[b] = load_raw_if<kWidth>(pack < range.end, packs + pack * kWidth);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const std::int64_t pack = begin + b * Threads;
      if (pack < range.end)
        replace_pack(gradient, raws[b], first_column + pack * kWidth, packs + pack * kWidth);
    }
  }
}

template <class T>
__device__ __forceinline__ void replace_one(const RowGradient& gradient, T* row, std::int64_t column) {
  const float slope = gradient.slope(to_float(row[column]));
  row[column] = from_float<T>(slope - (column == gradient.label ? gradient.weight : 0.0f));
}

template <int Threads, class T>
__device__ void clear_row(T* row, const RowParts& parts, std::int64_t columns) {
  if (int(threadIdx.x) < parts.head) row[threadIdx.x] = from_float<T>(0);
  T* packs = row + parts.head;
  for (std::int64_t pack = threadIdx.x; pack < parts.packs; pack += Threads) {
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
  if (label < 0) return clear_row<kThreads>(row, parts, columns);
  const float weight = op.weights(t);
  const RowGradient gradient{.highest = op.row_max(t),
                             .factor = weight / op.sum_exp(t),
                             .weight = weight,
                             .label = label - op.vocab_begin};
  if (int(threadIdx.x) < parts.head) replace_one(gradient, row, threadIdx.x);
  replace_packs<kThreads>(gradient, row + parts.head, {0, parts.packs}, parts.head);
  const std::int64_t last = parts.tail_begin + threadIdx.x;
  if (last < columns) replace_one(gradient, row, last);
}

constexpr int kWholeThreads = 1024;                      // a block a row, a block a multiprocessor
constexpr std::int64_t kKeptPacks = 12 * kWholeThreads;  // 192 KiB of a row stay in shared memory

/// Reads a row once: its first packs stay in shared memory until the gradient replaces them, the others, read
/// last, in L2.
template <class T>
__global__ void __launch_bounds__(kWholeThreads, 1) whole_kernel(CrossEntropy<T, Space::device> op) {
  extern __shared__ uint4 kept[];  // [kKeptPacks]
  constexpr int kWidth = kPack<T>;
  const std::int64_t t = op.logits.shape[0] - 1 - blockIdx.x, columns = op.logits.shape[1];
  const std::int64_t label = op.labels(t);
  T* row = op.logits.data + t * columns;
  const RowParts parts = parts_of(row, columns);
  if (label < 0) {
    if (threadIdx.x == 0) op.log_probability(t) = 0;
    return clear_row<kWholeThreads>(row, parts, columns);
  }
  T* packs = row + parts.head;
  const std::int64_t last = parts.tail_begin + threadIdx.x, kept_packs = min(kKeptPacks, parts.packs);
  const float label_logit = threadIdx.x == 0 && label < columns ? to_float(row[label]) : 0.0f;
  RunningSum running;
  if (int(threadIdx.x) < parts.head) running.add(to_float(row[threadIdx.x]));
  add_packs<kWholeThreads>(running, packs, parts.packs, [&](std::int64_t pack, const auto& raw) {
    if (pack < kKeptPacks) kept[pack] = {raw.words[0], raw.words[1], raw.words[2], raw.words[3]};
  });
  if (last < columns) running.add(to_float(row[last]));
  const float highest = block_max<kWholeThreads>(running.highest);
  running.raise_to(highest);
  const float sum = block_sum<kWholeThreads>(running.sum), weight = op.weights(t);
  if (threadIdx.x == 0) op.log_probability(t) = label_logit - highest - logf(sum);
  const RowGradient gradient{.highest = highest, .factor = weight / sum, .weight = weight, .label = label};
  replace_packs<kWholeThreads>(gradient, packs, {kept_packs, parts.packs}, parts.head);
  for (std::int64_t pack = threadIdx.x; pack < kept_packs; pack += kWholeThreads) {
    const uint4 words = kept[pack];  // what this thread put there
    const Raw<T, kWidth> raw{{words.x, words.y, words.z, words.w}};
    replace_pack(gradient, raw, parts.head + pack * kWidth, packs + pack * kWidth);
  }
  if (int(threadIdx.x) < parts.head) replace_one(gradient, row, threadIdx.x);
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

template <class T>
void cross_entropy(const CrossEntropy<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  if (op.logits.empty()) return;
  constexpr std::size_t kBytes = kKeptPacks * 16;
  queue.device->allow_shared_memory(reinterpret_cast<const void*>(&whole_kernel<T>), kBytes);
  whole_kernel<T><<<unsigned(op.logits.shape[0]), kWholeThreads, kBytes, queue.stream>>>(op);
  check(cudaGetLastError());
}

template void cross_entropy_statistics(const CrossEntropyStatistics<float, Space::device>&,
                                       Queue<Space::device>);
template void cross_entropy_statistics(const CrossEntropyStatistics<bf16, Space::device>&,
                                       Queue<Space::device>);
template void cross_entropy_gradient(const CrossEntropyGradient<float, Space::device>&, Queue<Space::device>);
template void cross_entropy_gradient(const CrossEntropyGradient<bf16, Space::device>&, Queue<Space::device>);
template void cross_entropy(const CrossEntropy<float, Space::device>&, Queue<Space::device>);
template void cross_entropy(const CrossEntropy<bf16, Space::device>&, Queue<Space::device>);

}  // namespace moebius::kernels
