#include <algorithm>

#include "base/math.h"
#include "kernels/device/check.h"
#include "kernels/device/device.h"
#include "kernels/moe/permute.h"

namespace moebius::kernels {
namespace {

constexpr unsigned kAllLanes = 0xffffffffu;

/// The sum of the values of the lower lanes and of this one.
__device__ __forceinline__ std::int32_t warp_inclusive_sum(std::int32_t value) {
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const std::int32_t lower = __shfl_up_sync(kAllLanes, value, offset);
    if (int(threadIdx.x % 32) >= offset) value += lower;
  }
  return value;
}

struct BlockScan {
  std::int32_t before, total;  // of the threads before this one, of all
};

/// All Threads threads of the block take part; may be called again at once.
template <int Threads>
__device__ __forceinline__ BlockScan block_scan(std::int32_t value) {
  __shared__ std::int32_t warp_sums[Threads / 32];
  const int warp = int(threadIdx.x) / 32;
  const std::int32_t inclusive = warp_inclusive_sum(value);
  __syncthreads();  // the last call's readers are through
  if (threadIdx.x % 32 == 31) warp_sums[warp] = inclusive;
  __syncthreads();
  BlockScan scan{inclusive - value, 0};
#pragma unroll
  for (int w = 0; w < Threads / 32; ++w) {
    if (w < warp) scan.before += warp_sums[w];
    scan.total += warp_sums[w];
  }
  return scan;
}

// permute_plan: a counting sort whose order does not depend on which block runs when. The assignments are cut
// into chunks, one a block. Counts of each chunk and group, their sums over the chunks before, then each
// assignment's place: its group's start + those in chunks before + those in the chunk before.

constexpr int kWarps = 8, kThreads = kWarps * 32;
constexpr int kRounds = 4;  // a warp sorts kRounds * 32 assignments, in order
constexpr int kChunk = kThreads * kRounds;
constexpr std::int64_t kMostGroups = 1024;  // 36 KiB of shared memory

struct Chunks {
  std::int32_t* counts = nullptr;  // [groups, chunks]; of each chunk, then of the chunks before it
  std::int32_t* totals = nullptr;  // [groups]
  std::int32_t count = 0, groups = 0;
};

/// The group of an id, -1 where it is in none.
__device__ __forceinline__ std::int32_t group_of_id(const PermutePlan<Space::device>& op, std::int32_t id) {
  const std::int32_t from_first = id - std::int32_t(op.first);
  if (id < 0 || from_first < 0) return -1;
  const std::int32_t group = from_first / std::int32_t(op.experts_per_group);
  return group < op.starts.shape[0] - 1 ? group : -1;
}

/// The group of assignment i, -1 past the end and where it has no row.
__device__ __forceinline__ std::int32_t group_of(const PermutePlan<Space::device>& op, std::int64_t i) {
  if (i >= op.ids.size()) return -1;
  const std::int32_t group = group_of_id(op, op.ids.data[i]);
  if (group < 0 || op.experts_per_group == 1) return group;  // a token's experts differ
  for (std::int64_t earlier = i - i % op.ids.shape[1]; earlier < i; ++earlier) {
    if (group_of_id(op, op.ids.data[earlier]) == group) return -1;
  }
  return group;
}

__global__ void __launch_bounds__(kThreads) count_kernel(PermutePlan<Space::device> op, Chunks chunks) {
  extern __shared__ std::int32_t counts[];  // [groups]
  for (int e = int(threadIdx.x); e < chunks.groups; e += kThreads) counts[e] = 0;
  __syncthreads();
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const std::int64_t i = std::int64_t(blockIdx.x) * kChunk + round * kThreads + threadIdx.x;
    const std::int32_t group = group_of(op, i);
    if (group >= 0) atomicAdd(&counts[group], 1);
  }
  __syncthreads();
  for (int e = int(threadIdx.x); e < chunks.groups; e += kThreads) {
    chunks.counts[std::int64_t(e) * chunks.count + blockIdx.x] = counts[e];
  }
}

/// A warp an group: its counts become sums over the chunks before.
__global__ void __launch_bounds__(kThreads) sum_chunks_kernel(Chunks chunks) {
  constexpr int kBatch = 4;  // loads in flight
  const int e = int(blockIdx.x) * kWarps + int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  if (e >= chunks.groups) return;
  std::int32_t* counts = chunks.counts + std::int64_t(e) * chunks.count;
  std::int32_t sum = 0;
  for (int begin = lane; begin - lane < chunks.count; begin += kBatch * 32) {
    std::int32_t values[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) values[b] = begin + b * 32 < chunks.count ? counts[begin + b * 32] : 0;
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const std::int32_t inclusive = warp_inclusive_sum(values[b]);
      if (begin + b * 32 < chunks.count) counts[begin + b * 32] = sum + inclusive - values[b];
      sum += __shfl_sync(kAllLanes, inclusive, 31);
    }
  }
  if (lane == 0) chunks.totals[e] = sum;
}

/// Each group's first row, to shared memory and, by the first block, to the plan. Returns the rows in all.
__device__ std::int32_t scan_starts(const PermutePlan<Space::device>& op, const Chunks& chunks,
                                    std::int32_t* starts) {
  std::int32_t rows = 0;
  for (int begin = 0; begin < chunks.groups; begin += kThreads) {
    const int e = begin + int(threadIdx.x);
    const BlockScan scan = block_scan<kThreads>(e < chunks.groups ? chunks.totals[e] : 0);
    if (e < chunks.groups) {
      starts[e] = rows + scan.before;
      if (blockIdx.x == 0) op.starts(e) = starts[e];
    }
    rows += scan.total;
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) op.starts(chunks.groups) = rows;
  return rows;
}

/// The rank of each of a warp's assignments among those before it in the warp with the same group; `counts`
/// [groups] of the warp: zeros, then how many it has.
__device__ __forceinline__ void rank_in_warp(const std::int32_t (&groups)[kRounds], std::int32_t* counts,
                                             std::int32_t (&ranks)[kRounds]) {
  const unsigned lower_lanes = (1u << (threadIdx.x % 32)) - 1;
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const std::int32_t group = groups[round];
    const unsigned same = __match_any_sync(kAllLanes, group);
    const std::int32_t before = group >= 0 ? counts[group] : 0;
    ranks[round] = before + __popc(same & lower_lanes);
    __syncwarp();
    if (group >= 0 && (same & lower_lanes) == 0) counts[group] = before + __popc(same);
    __syncwarp();
  }
}

__global__ void __launch_bounds__(kThreads) place_kernel(PermutePlan<Space::device> op, Chunks chunks) {
  extern __shared__ std::int32_t shared[];
  std::int32_t *starts = shared, *warp_counts = shared + chunks.groups;  // [groups], [kWarps, groups]
  const std::int64_t chunk_begin = std::int64_t(blockIdx.x) * kChunk;
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  std::int32_t* mine = warp_counts + warp * chunks.groups;
  std::int32_t groups[kRounds], ranks[kRounds];
  const std::int64_t first = chunk_begin + warp * kRounds * 32 + lane;
#pragma unroll
  for (int round = 0; round < kRounds; ++round) groups[round] = group_of(op, first + round * 32);
  for (int e = lane; e < chunks.groups; e += 32) mine[e] = 0;
  __syncwarp();
  rank_in_warp(groups, mine, ranks);
  const std::int32_t rows = scan_starts(op, chunks, starts);
  __syncthreads();

  // Counts of each warp become the row of its first assignment.
  for (int e = int(threadIdx.x); e < chunks.groups; e += kThreads) {
    std::int32_t row = starts[e] + chunks.counts[std::int64_t(e) * chunks.count + blockIdx.x];
    for (int w = 0; w < kWarps; ++w) {
      const std::int32_t count = warp_counts[w * chunks.groups + e];
      warp_counts[w * chunks.groups + e] = row;
      row += count;
    }
  }
  __syncthreads();

  const std::int64_t room = op.assignments.size();
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const std::int64_t i = first + round * 32;
    if (i >= op.ids.size()) continue;
    const std::int32_t row = groups[round] < 0 ? -1 : mine[groups[round]] + ranks[round];
    op.positions.data[i] = row;
    if (i >= rows && i < room) op.assignments(i) = -1;  // row i, which is nobody's
    if (row >= 0 && row < room) op.assignments(row) = std::int32_t(i);
  }
}

void clear(View<std::int32_t, 1, Space::device> values, int byte, Queue<Space::device> queue) {
  if (values.empty()) return;
  check(cudaMemsetAsync(values.data, byte, std::size_t(values.size()) * sizeof(std::int32_t), queue.stream));
}

}  // namespace

void permute_plan(const PermutePlan<Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t groups = op.starts.shape[0] - 1, chunk_count = divide_up(op.ids.size(), kChunk);
  if (groups > kMostGroups) {
    throw ShapeError("permute.starts: " + std::to_string(groups) + " groups, at most " +
                     std::to_string(kMostGroups) + " on a device");
  }
  if (chunk_count == 0 || groups == 0) {
    clear(op.starts, 0, queue);
    clear(op.positions.flat(), 0xff, queue);
    clear(op.assignments, 0xff, queue);
    return;
  }
  auto* scratch = static_cast<std::int32_t*>(
      queue.device->scratch(groups * (chunk_count + 1) * std::int64_t(sizeof(std::int32_t))));
  const Chunks chunks{.counts = scratch,
                      .totals = scratch + groups * chunk_count,
                      .count = narrow<std::int32_t>(chunk_count),
                      .groups = std::int32_t(groups)};
  const std::size_t row_bytes = std::size_t(groups) * sizeof(std::int32_t);
  const unsigned blocks = unsigned(chunk_count);
  count_kernel<<<blocks, kThreads, row_bytes, queue.stream>>>(op, chunks);
  sum_chunks_kernel<<<unsigned(divide_up(groups, kWarps)), kThreads, 0, queue.stream>>>(chunks);
  place_kernel<<<blocks, kThreads, (kWarps + 1) * row_bytes, queue.stream>>>(op, chunks);
  check(cudaGetLastError());
}

}  // namespace moebius::kernels
