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
// into chunks, one a block. Counts of each chunk and expert, their sums over the chunks before, then each
// assignment's place: its expert's start + those in chunks before + those in the chunk before.

constexpr int kWarps = 8, kThreads = kWarps * 32;
constexpr int kRounds = 4;  // a warp sorts kRounds * 32 assignments, in order
constexpr int kChunk = kThreads * kRounds;
constexpr std::int64_t kMostExperts = 1024;  // 36 KiB of shared memory

struct Chunks {
  std::int32_t* counts = nullptr;  // [experts, chunks]; of each chunk, then of the chunks before it
  std::int32_t* totals = nullptr;  // [experts]
  std::int32_t count = 0, experts = 0;
};

/// The expert of assignment i, -1 past the end and where it goes nowhere.
__device__ __forceinline__ std::int32_t expert_of(const PermutePlan<Space::device>& op, std::int64_t i) {
  const std::int32_t id = i < op.ids.size() ? op.ids.data[i] : -1;
  return id < op.starts.shape[0] - 1 ? id : -1;
}

__global__ void __launch_bounds__(kThreads) count_kernel(PermutePlan<Space::device> op, Chunks chunks) {
  extern __shared__ std::int32_t counts[];  // [experts]
  for (int e = int(threadIdx.x); e < chunks.experts; e += kThreads) counts[e] = 0;
  __syncthreads();
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const std::int64_t i = std::int64_t(blockIdx.x) * kChunk + round * kThreads + threadIdx.x;
    const std::int32_t expert = expert_of(op, i);
    if (expert >= 0) atomicAdd(&counts[expert], 1);
  }
  __syncthreads();
  for (int e = int(threadIdx.x); e < chunks.experts; e += kThreads) {
    chunks.counts[std::int64_t(e) * chunks.count + blockIdx.x] = counts[e];
  }
}

/// A warp an expert: its counts become sums over the chunks before.
__global__ void __launch_bounds__(kThreads) sum_chunks_kernel(Chunks chunks) {
  constexpr int kBatch = 4;  // loads in flight
  const int e = int(blockIdx.x) * kWarps + int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  if (e >= chunks.experts) return;
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

/// Each expert's first row, to shared memory and, by the first block, to the plan. Returns the rows in all.
__device__ std::int32_t scan_starts(const PermutePlan<Space::device>& op, const Chunks& chunks,
                                    std::int32_t* starts) {
  std::int32_t rows = 0;
  for (int begin = 0; begin < chunks.experts; begin += kThreads) {
    const int e = begin + int(threadIdx.x);
    const BlockScan scan = block_scan<kThreads>(e < chunks.experts ? chunks.totals[e] : 0);
    if (e < chunks.experts) {
      starts[e] = rows + scan.before;
      if (blockIdx.x == 0) op.starts(e) = starts[e];
    }
    rows += scan.total;
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) op.starts(chunks.experts) = rows;
  return rows;
}

/// The rank of each of a warp's assignments among those before it in the warp with the same expert; `counts`
/// [experts] of the warp: zeros, then how many it has.
__device__ __forceinline__ void rank_in_warp(const std::int32_t (&experts)[kRounds], std::int32_t* counts,
                                             std::int32_t (&ranks)[kRounds]) {
  const unsigned lower_lanes = (1u << (threadIdx.x % 32)) - 1;
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const std::int32_t expert = experts[round];
    const unsigned same = __match_any_sync(kAllLanes, expert);
    const std::int32_t before = expert >= 0 ? counts[expert] : 0;
    ranks[round] = before + __popc(same & lower_lanes);
    __syncwarp();
    if (expert >= 0 && (same & lower_lanes) == 0) counts[expert] = before + __popc(same);
    __syncwarp();
  }
}

__global__ void __launch_bounds__(kThreads) place_kernel(PermutePlan<Space::device> op, Chunks chunks) {
  extern __shared__ std::int32_t shared[];
  std::int32_t *starts = shared, *warp_counts = shared + chunks.experts;  // [experts], [kWarps, experts]
  const std::int64_t chunk_begin = std::int64_t(blockIdx.x) * kChunk;
  const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
  std::int32_t* mine = warp_counts + warp * chunks.experts;
  std::int32_t experts[kRounds], ranks[kRounds];
  const std::int64_t first = chunk_begin + warp * kRounds * 32 + lane;
#pragma unroll
  for (int round = 0; round < kRounds; ++round) experts[round] = expert_of(op, first + round * 32);
  for (int e = lane; e < chunks.experts; e += 32) mine[e] = 0;
  __syncwarp();
  rank_in_warp(experts, mine, ranks);
  const std::int32_t rows = scan_starts(op, chunks, starts);
  __syncthreads();

  // Counts of each warp become the row of its first assignment.
  for (int e = int(threadIdx.x); e < chunks.experts; e += kThreads) {
    std::int32_t row = starts[e] + chunks.counts[std::int64_t(e) * chunks.count + blockIdx.x];
    for (int w = 0; w < kWarps; ++w) {
      const std::int32_t count = warp_counts[w * chunks.experts + e];
      warp_counts[w * chunks.experts + e] = row;
      row += count;
    }
  }
  __syncthreads();

  const std::int32_t top_k = std::int32_t(op.ids.shape[1]);
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const std::int64_t i = first + round * 32;
    if (i >= op.ids.size()) continue;
    const std::int32_t row = experts[round] < 0 ? -1 : mine[experts[round]] + ranks[round];
    op.positions.data[i] = row;
    if (i >= rows) op.sources(i) = op.assignments(i) = -1;  // row i, which is nobody's
    if (row < 0) continue;
    op.sources(row) = std::int32_t(i) / top_k;
    op.assignments(row) = std::int32_t(i);
  }
}

// regroup_plan

constexpr int kScanThreads = 1024;

/// One block: where each block of rows begins, in the old order and in the new.
__global__ void __launch_bounds__(kScanThreads)
    block_begins_kernel(RegroupPlan<Space::device> op, std::int32_t* old_begins, std::int32_t* new_begins) {
  const std::int64_t parts = op.counts.shape[0], groups = op.counts.shape[1], blocks = parts * groups;
  std::int32_t old_rows = 0, new_rows = 0;
  for (std::int64_t begin = 0; begin < blocks; begin += kScanThreads) {
    const std::int64_t i = begin + threadIdx.x;
    const std::int64_t group = i / parts, part = i % parts, block = part * groups + group;
    const BlockScan old_scan = block_scan<kScanThreads>(i < blocks ? op.counts.data[i] : 0);
    const BlockScan new_scan = block_scan<kScanThreads>(i < blocks ? op.counts.data[block] : 0);
    if (i < blocks) {
      old_begins[i] = old_rows + old_scan.before;
      new_begins[block] = new_rows + new_scan.before;
      if (part == 0) op.starts(group) = new_begins[block];
    }
    old_rows += old_scan.total;
    new_rows += new_scan.total;
  }
  if (threadIdx.x == 0) op.starts(groups) = new_rows;
}

/// A thread an old row. More rows than there is room for, which the host twin refuses, are left out.
__global__ void __launch_bounds__(kThreads)
    regroup_kernel(RegroupPlan<Space::device> op, const std::int32_t* old_begins,
                   const std::int32_t* new_begins) {
  const std::int64_t row = std::int64_t(blockIdx.x) * kThreads + threadIdx.x, rows = op.sources.shape[0];
  if (row >= rows) return;
  if (row >= op.starts(op.counts.shape[1])) {
    op.sources(row) = op.positions(row) = -1;
    return;
  }
  std::int64_t block = 0, end = op.counts.size();  // the last block that begins at or before the row
  while (end - block > 1) {
    const std::int64_t middle = (block + end) / 2;
    (old_begins[middle] <= row ? block : end) = middle;
  }
  const std::int64_t new_row = new_begins[block] + (row - old_begins[block]);
  op.positions(row) = std::int32_t(new_row);
  if (new_row < rows) op.sources(new_row) = std::int32_t(row);
}

void clear(View<std::int32_t, 1, Space::device> values, int byte, Queue<Space::device> queue) {
  if (values.empty()) return;
  check(cudaMemsetAsync(values.data, byte, std::size_t(values.size()) * sizeof(std::int32_t), queue.stream));
}

}  // namespace

void permute_plan(const PermutePlan<Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t experts = op.starts.shape[0] - 1, chunk_count = divide_up(op.ids.size(), kChunk);
  if (experts > kMostExperts) {
    throw ShapeError("permute.starts: " + std::to_string(experts) + " experts, at most " +
                     std::to_string(kMostExperts) + " on a device");
  }
  if (chunk_count == 0 || experts == 0) {
    clear(op.starts, 0, queue);
    clear(op.positions.flat(), 0xff, queue);
    clear(op.sources, 0xff, queue);
    clear(op.assignments, 0xff, queue);
    return;
  }
  auto* scratch = static_cast<std::int32_t*>(
      queue.device->scratch(experts * (chunk_count + 1) * std::int64_t(sizeof(std::int32_t))));
  const Chunks chunks{.counts = scratch,
                      .totals = scratch + experts * chunk_count,
                      .count = narrow<std::int32_t>(chunk_count),
                      .experts = std::int32_t(experts)};
  const std::size_t row_bytes = std::size_t(experts) * sizeof(std::int32_t);
  const unsigned blocks = unsigned(chunk_count);
  count_kernel<<<blocks, kThreads, row_bytes, queue.stream>>>(op, chunks);
  sum_chunks_kernel<<<unsigned(divide_up(experts, kWarps)), kThreads, 0, queue.stream>>>(chunks);
  place_kernel<<<blocks, kThreads, (kWarps + 1) * row_bytes, queue.stream>>>(op, chunks);
  check(cudaGetLastError());
}

void regroup_plan(const RegroupPlan<Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const std::int64_t blocks = op.counts.size(), rows = op.sources.shape[0];
  if (blocks == 0) {
    clear(op.starts, 0, queue);
    clear(op.sources, 0xff, queue);
    clear(op.positions, 0xff, queue);
    return;
  }
  auto* old_begins =
      static_cast<std::int32_t*>(queue.device->scratch(2 * blocks * std::int64_t(sizeof(std::int32_t))));
  std::int32_t* new_begins = old_begins + blocks;
  block_begins_kernel<<<1, kScanThreads, 0, queue.stream>>>(op, old_begins, new_begins);
  if (rows > 0) {
    regroup_kernel<<<unsigned(divide_up(rows, kThreads)), kThreads, 0, queue.stream>>>(op, old_begins,
                                                                                       new_begins);
  }
  check(cudaGetLastError());
}

}  // namespace moebius::kernels
