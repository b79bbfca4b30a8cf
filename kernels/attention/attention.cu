#include <cuda_runtime.h>

#include <type_traits>

#include "base/math.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/device/attention_cudnn.h"
#include "kernels/attention/device/plain.h"
#include "kernels/device/check.h"
#include "kernels/device/device.h"
#include "kernels/device/lanes.cuh"

/// The plain kernels. A warp has one row of one head: a query, which it compares with keys, or a key, which
/// it compares with queries. Eight lanes are a team that shares one row of the other side, four rows at a
/// time:
///
///   lane r of a team holds the entries (8 i + r) * Width + w of a row, i = 0, 1, ..; w < Width
namespace moebius::kernels {
namespace {

constexpr int kTeam = 8, kTeams = 32 / kTeam;
constexpr int kWarps = 8, kThreads = 32 * kWarps;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ __forceinline__ float team_sum(float value) {
#pragma unroll
  for (int offset = kTeam / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}
__device__ __forceinline__ float sum_of_teams(float value) {
#pragma unroll
  for (int offset = kTeam; offset < 32; offset *= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}
__device__ __forceinline__ float max_of_teams(float value) {
#pragma unroll
  for (int offset = kTeam; offset < 32; offset *= 2)
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, offset));
  return value;
}

/// A lane's share of a row of up to 8 * Values entries, zeros behind the last.
template <class T, int Width, int Values>
struct Share {
  float value[Values];

  __device__ __forceinline__ Share() {
#pragma unroll
    for (float& entry : value) entry = 0;
  }
  __device__ __forceinline__ Share(const T* row, int head_dim) : Share() {
#pragma unroll
    for (int i = 0; i < Values / Width; ++i) {
      const int c = place(i);
      if (c >= head_dim) continue;
      if constexpr (Width == 1) {
        value[i] = to_float(row[c]);
      } else {
        const Pack<T> pack = load_pack(row + c);
#pragma unroll
        for (int w = 0; w < Width; ++w) value[i * Width + w] = pack.value[w];
      }
    }
  }
  __device__ __forceinline__ void store(T* row, int head_dim) const {
#pragma unroll
    for (int i = 0; i < Values / Width; ++i) {
      const int c = place(i);
      if (c >= head_dim) continue;
      if constexpr (Width == 1) {
        row[c] = from_float<T>(value[i]);
      } else {
        Pack<T> pack;
#pragma unroll
        for (int w = 0; w < Width; ++w) pack.value[w] = value[i * Width + w];
        store_pack(row + c, pack);
      }
    }
  }
  __device__ __forceinline__ void scale(float factor) {
#pragma unroll
    for (float& entry : value) entry *= factor;
  }
  __device__ __forceinline__ void add(float factor, const Share& other) {
#pragma unroll
    for (int i = 0; i < Values; ++i) value[i] = fmaf(factor, other.value[i], value[i]);
  }
  __device__ __forceinline__ void sum_over_teams() {
#pragma unroll
    for (float& entry : value) entry = sum_of_teams(entry);
  }

 private:
  static __device__ __forceinline__ int place(int i) {
    return (i * kTeam + int(threadIdx.x) % kTeam) * Width;
  }
};

/// <a, b> of a team's row, on all of its lanes. Whole warps call it.
template <class T, int Width, int Values>
__device__ __forceinline__ float dot(const Share<T, Width, Values>& a, const Share<T, Width, Values>& b) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < Values; ++i) sum = fmaf(a.value[i], b.value[i], sum);
  return team_sum(sum);
}

// ---------------------------------------------------------------------------------------------- segments

using DeviceSegments = Segments<Space::device>;
using Rows = Range;

/// The last segment that starts at `row` or before it and is not empty; -1 where there is none.
__device__ std::int64_t segment_of(const View<const std::int32_t, 1, Space::device>& starts,
                                   std::int64_t row) {
  std::int64_t low = 0, high = starts.shape[0];  // starts before low are <= row, those from high on are above
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (starts(middle) <= row) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low >= starts.shape[0] ? -1 : low - 1;
}

struct Counts {
  std::int64_t queries, keys;
};
__device__ std::int64_t count_of(const View<const std::int32_t, 1, Space::device>& starts,
                                 const View<const std::int32_t, 1, Space::device>& counts, std::int64_t n) {
  return counts.empty() ? starts(n + 1) - starts(n) : counts(n);
}
__device__ Counts counts_of(const DeviceSegments& segments, std::int64_t n) {
  return {count_of(segments.query_starts, segments.query_counts, n),
          count_of(segments.key_starts, segments.key_counts, n)};
}

/// The keys that a query sees.
__device__ Rows seen_keys(const DeviceSegments& segments, std::int64_t query) {
  const std::int64_t n = segment_of(segments.query_starts, query);
  if (n < 0) return {};
  const Counts counts = counts_of(segments, n);
  const std::int64_t place = query - segments.query_starts(n), begin = segments.key_starts(n);
  if (place >= counts.queries) return {};  // between segments
  if (segments.mask == Mask::nothing) return {begin, begin + counts.keys};
  return {begin, begin + place + 1 + counts.keys - counts.queries};
}

/// The queries that see a key.
__device__ Rows seeing_queries(const DeviceSegments& segments, std::int64_t key) {
  const std::int64_t n = segment_of(segments.key_starts, key);
  if (n < 0) return {};
  const Counts counts = counts_of(segments, n);
  const std::int64_t place = key - segments.key_starts(n), begin = segments.query_starts(n);
  if (place >= counts.keys) return {};  // room left in a cache
  const std::int64_t unseen = segments.mask == Mask::nothing ? 0 : place - (counts.keys - counts.queries);
  return {begin + (unseen > 0 ? unseen : 0), begin + counts.queries};
}

/// The row of the other side that a team has: the last one again where there are no more.
struct TeamRow {
  std::int64_t row;
  bool is_there;
  __device__ TeamRow(Rows rows, std::int64_t first) {
    const std::int64_t mine = first + threadIdx.x % 32 / kTeam;
    is_there = mine < rows.end;
    row = is_there ? mine : rows.end - 1;
  }
};

// ----------------------------------------------------------------------------------------------- forward

/// The softmax of one query over the keys so far: `sum` and `y` are a team's own until `gather`.
template <class T, int Width, int Values>
struct RunningSoftmax {
  float highest = -INFINITY, sum = 0;
  Share<T, Width, Values> y;

  __device__ __forceinline__ void take_in(float score, const Share<T, Width, Values>& v) {
    const float new_highest = fmaxf(highest, max_of_teams(score));
    const float factor = expf(highest - new_highest), p = expf(score - new_highest);
    sum = sum * factor + p;
    y.scale(factor);
    y.add(p, v);
    highest = new_highest;
  }
  __device__ __forceinline__ void gather_teams() {
    sum = sum_of_teams(sum);
    y.sum_over_teams();
  }
};

/// Adds up what the warps of a block have of one query, in order, on its first warp.
template <class T, int Width, int Values>
__device__ void gather_warps(RunningSoftmax<T, Width, Values>& softmax) {
  __shared__ float highest[kWarps], sum[kWarps], y[kWarps][Values][kTeam];
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  if (lane == 0) highest[warp] = softmax.highest, sum[warp] = softmax.sum;
#pragma unroll
  for (int i = 0; i < Values; ++i) {
    if (lane < kTeam) y[warp][i][lane] = softmax.y.value[i];
  }
  __syncthreads();
  if (warp > 0) return;
  softmax = {};
  for (const float of_warp : highest) softmax.highest = fmaxf(softmax.highest, of_warp);
  for (int w = 0; w < kWarps; ++w) {
    const float factor = highest[w] == -INFINITY ? 0 : expf(highest[w] - softmax.highest);
    softmax.sum += factor * sum[w];
#pragma unroll
    for (int i = 0; i < Values; ++i) softmax.y.value[i] += factor * y[w][i][lane % kTeam];
  }
}

/// Split warps share the keys of one (query, head): 1, or all of a block where there are few queries.
template <class T, int Width, int Values, int Split>
__global__ void __launch_bounds__(kThreads) forward_kernel(AttentionForward<T, Space::device> op) {
  using Row = Share<T, Width, Values>;
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  const std::int64_t index = (std::int64_t(blockIdx.x) * kWarps + warp) / Split;
  if (index >= op.q.rows * op.heads) return;  // a whole block where its warps share a query
  const std::int64_t query = index / op.heads, head = index % op.heads;
  const int head_dim = int(op.q.columns / op.heads);
  const std::int64_t column = head * head_dim, key_column = head / (op.heads / op.kv_heads) * head_dim;
  const Rows seen = seen_keys(op.segments, query);
  const Row q(op.q.row(query) + column, head_dim);
  RunningSoftmax<T, Width, Values> softmax;
  for (std::int64_t first = seen.begin + warp % Split * kTeams; first < seen.end; first += Split * kTeams) {
    const TeamRow key(seen, first);
    const Row k(op.k.row(key.row) + key_column, head_dim), v(op.v.row(key.row) + key_column, head_dim);
    const float score = op.scale * dot(q, k);
    softmax.take_in(key.is_there ? score : -INFINITY, v);
  }
  softmax.gather_teams();
  if constexpr (Split > 1) {
    gather_warps(softmax);
    if (warp > 0) return;
  }
  const bool is_owned = seen.size() > 0;
  softmax.y.scale(is_owned ? 1 / softmax.sum : 0);
  if (lane < kTeam) softmax.y.store(op.y.row(query) + column, head_dim);
  const float of_nothing = op.segments.mask == Mask::nothing ? -INFINITY : 0;
  if (lane == 0 && op.log_sum_exp.data != nullptr)
    op.log_sum_exp(query, head) = is_owned ? softmax.highest + logf(softmax.sum) : of_nothing;
}

// ---------------------------------------------------------------------------------------------- backward

/// Also products[query, head] = <dy, y>.
template <class T, int Width, int Values>
__global__ void __launch_bounds__(kThreads)
    query_gradient_kernel(AttentionBackward<T, Space::device> op, View<float, 2, Space::device> products) {
  using Row = Share<T, Width, Values>;
  const std::int64_t index = std::int64_t(blockIdx.x) * kWarps + threadIdx.x / 32;
  const int lane = int(threadIdx.x) % 32;
  if (index >= op.q.rows * op.heads) return;
  const std::int64_t query = index / op.heads, head = index % op.heads;
  const int head_dim = int(op.q.columns / op.heads);
  const std::int64_t column = head * head_dim, key_column = head / (op.heads / op.kv_heads) * head_dim;
  const Rows seen = seen_keys(op.segments, query);
  const Row q(op.q.row(query) + column, head_dim), dy(op.dy.row(query) + column, head_dim);
  const float product = dot(dy, Row(op.y.row(query) + column, head_dim));
  if (lane == 0) products(query, head) = product;
  const float log_sum_exp = op.log_sum_exp(query, head);
  Row dq;
  for (std::int64_t first = seen.begin; first < seen.end; first += kTeams) {
    const TeamRow key(seen, first);
    const Row k(op.k.row(key.row) + key_column, head_dim), v(op.v.row(key.row) + key_column, head_dim);
    const float score = op.scale * dot(q, k), dp = dot(dy, v);
    dq.add(key.is_there ? expf(score - log_sum_exp) * (dp - product) : 0, k);
  }
  dq.sum_over_teams();
  dq.scale(op.scale);
  if (lane < kTeam) dq.store(op.dq.row(query) + column, head_dim);
}

/// The query heads of a group in order, then their queries in order.
template <class T, int Width, int Values>
__global__ void __launch_bounds__(kThreads)
    key_gradient_kernel(AttentionBackward<T, Space::device> op,
                        View<const float, 2, Space::device> products) {
  using Row = Share<T, Width, Values>;
  const std::int64_t index = std::int64_t(blockIdx.x) * kWarps + threadIdx.x / 32;
  const int lane = int(threadIdx.x) % 32;
  if (index >= op.k.rows * op.kv_heads) return;
  const std::int64_t key = index / op.kv_heads, kv_head = index % op.kv_heads, group = op.heads / op.kv_heads;
  const int head_dim = int(op.q.columns / op.heads);
  const std::int64_t key_column = kv_head * head_dim;
  const Rows queries = seeing_queries(op.segments, key);
  const Row k(op.k.row(key) + key_column, head_dim), v(op.v.row(key) + key_column, head_dim);
  Row dk, dv;
  for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    for (std::int64_t first = queries.begin; first < queries.end; first += kTeams) {
      const TeamRow query(queries, first);
      const Row q(op.q.row(query.row) + head * head_dim, head_dim);
      const Row dy(op.dy.row(query.row) + head * head_dim, head_dim);
      const float score = op.scale * dot(q, k), dp = dot(dy, v);
      const float p = query.is_there ? expf(score - op.log_sum_exp(query.row, head)) : 0;
      dv.add(p, dy);
      dk.add(p * (dp - products(query.row, head)), q);
    }
  }
  dk.sum_over_teams(), dv.sum_over_teams();
  dk.scale(op.scale);
  if (lane >= kTeam) return;
  dk.store(op.dk.row(key) + key_column, head_dim);
  dv.store(op.dv.row(key) + key_column, head_dim);
}

// ------------------------------------------------------------------------------------------------ launch

template <int Value>
using Constant = std::integral_constant<int, Value>;

/// Whether a lane may read the rows of all matrices in 16-byte packs.
template <class T, class... Matrices>
bool has_packs(std::int64_t head_dim, const Matrices&... matrices) {
  const auto fits = [](const auto& matrix) {
    return matrix.stride % kPack<T> == 0 && reinterpret_cast<std::uintptr_t>(matrix.data) % 16 == 0;
  };
  return head_dim % kPack<T> == 0 && (fits(matrices) && ...);
}

/// Calls launch(Width, Values) with constants.
template <class T, class Launch, class... Matrices>
void launch_for(std::int64_t head_dim, const Launch& launch, const Matrices&... matrices) {
  constexpr Constant<16> up_to_128;
  constexpr Constant<kLargestHeadDim / kTeam> up_to_the_largest;
  if (has_packs<T>(head_dim, matrices...)) {
    if (head_dim <= 128) return launch(Constant<kPack<T>>{}, up_to_128);
    return launch(Constant<kPack<T>>{}, up_to_the_largest);
  }
  if (head_dim <= 128) return launch(Constant<1>{}, up_to_128);
  launch(Constant<1>{}, up_to_the_largest);
}

int blocks_for(std::int64_t warps) {
  return narrow<int>(divide_up(warps, kWarps));
}

}  // namespace

template <class T>
void attention_forward_plain(const AttentionForward<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t warps = op.q.rows * op.heads, head_dim = op.q.columns / op.heads;
  if (warps * head_dim == 0) return;
  const bool is_few = warps < 16 * queue.device->multiprocessors();  // a quarter of what the GPU holds
  const auto launch = [&](auto width, auto values) {
    constexpr int kWidth = decltype(width)::value, kValues = decltype(values)::value;
    if (is_few) {
      forward_kernel<T, kWidth, kValues, kWarps><<<unsigned(warps), kThreads, 0, queue.stream>>>(op);
    } else {
      forward_kernel<T, kWidth, kValues, 1><<<blocks_for(warps), kThreads, 0, queue.stream>>>(op);
    }
  };
  launch_for<T>(head_dim, launch, op.q, op.k, op.v, op.y);
  check(cudaGetLastError());
}

template <class T>
void attention_backward_plain(const AttentionBackward<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t query_warps = op.q.rows * op.heads, key_warps = op.k.rows * op.kv_heads;
  const std::int64_t head_dim = op.q.columns / op.heads;
  if (head_dim == 0) return;
  const View<float, 2, Space::device> products(
      static_cast<float*>(queue.device->scratch(query_warps * std::int64_t(sizeof(float)))),
      {op.q.rows, op.heads});
  const auto launch = [&](auto width, auto values) {
    constexpr int kWidth = decltype(width)::value, kValues = decltype(values)::value;
    if (query_warps > 0) {
      query_gradient_kernel<T, kWidth, kValues>
          <<<blocks_for(query_warps), kThreads, 0, queue.stream>>>(op, products);
      check(cudaGetLastError());
    }
    if (key_warps > 0) {
      key_gradient_kernel<T, kWidth, kValues>
          <<<blocks_for(key_warps), kThreads, 0, queue.stream>>>(op, products);
      check(cudaGetLastError());
    }
  };
  launch_for<T>(head_dim, launch, op.q, op.k, op.v, op.y, op.dy, op.dq, op.dk, op.dv);
}

template <class T>
void attention_forward(const AttentionForward<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  if constexpr (std::is_same_v<T, bf16>) {
    if (suits_cudnn(op)) return attention_forward_cudnn(op, queue);
  }
  attention_forward_plain(op, queue);
}

template <class T>
void attention_backward(const AttentionBackward<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  if constexpr (std::is_same_v<T, bf16>) {
    if (suits_cudnn(op)) return attention_backward_cudnn(op, queue);
  }
  attention_backward_plain(op, queue);
}

#define MOEBIUS_INSTANTIATE(T)                                                                              \
  template void attention_forward_plain(const AttentionForward<T, Space::device>&, Queue<Space::device>);   \
  template void attention_backward_plain(const AttentionBackward<T, Space::device>&, Queue<Space::device>); \
  template void attention_forward(const AttentionForward<T, Space::device>&, Queue<Space::device>);         \
  template void attention_backward(const AttentionBackward<T, Space::device>&, Queue<Space::device>);
MOEBIUS_INSTANTIATE(float)
MOEBIUS_INSTANTIATE(bf16)

}  // namespace moebius::kernels
