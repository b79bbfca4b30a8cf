#pragma once
#include "kernels/moe/device/grouped_store.cuh"
#include "kernels/moe/device/grouped_tiles.cuh"

/// The products of all groups as one persistent kernel, a block a multiprocessor: a thread of the first
/// warpgroup draws tiles from a counter in global memory and keeps TMA loading their factors into a ring of
/// stages, two warpgroups multiply, the second some steps behind the first: while one stores a tile, the
/// other keeps the tensor cores busy. Rows of groups are contiguous and not padded: rows that a tile reads
/// behind its group make results that are not stored; where rows are summed over, they are cleared in shared
/// memory.
namespace moebius::kernels {

inline constexpr int kTileQueue = 4;  // tiles drawn ahead, at most
inline constexpr int kStages = 4;
/// Of tiles drawn, not counting the first of each block; of blocks that are done.
inline constexpr int kCounters = 2;

template <class Out>
struct ProductArguments {
  const int* starts;  // [groups + 1]
  ProductExtents extents;
  Out* result;
  unsigned* counter;  // [kCounters] zeros; the last block leaves zeros
};

struct ProductMemory {
  struct Stage {
    std::uint8_t a[kTileRows * kStepDepth * 2];
    std::uint8_t b[kTileColumns * kStepDepth * 2];
  };
  alignas(1024) Stage stages[kStages];
  std::uint8_t staging[8][kStagingBuffers * kStagingBytes];  // of a multiplying warp
  Barrier full[kStages], empty[kStages];                     // of a stage
  Barrier tile_full[kTileQueue], tile_empty[kTileQueue];
  Tile tile[kTileQueue];
  GroupTable table;
};

template <Product product>
inline constexpr Major kMajorA = product == Product::weight_gradient ? Major::outer : Major::depth;
template <Product product>
inline constexpr Major kMajorB = product == Product::forward ? Major::depth : Major::outer;

/// A position in a ring of barriers that is passed `count` times: which one, and the parity of its phase.
template <int Size>
struct RingPosition {
  std::uint32_t index, parity;
  __device__ __forceinline__ explicit RingPosition(std::uint32_t count)
      : index(count % Size), parity(count / Size % 2) {}
};

// Load.

template <Product product>
__device__ __forceinline__ void load_step(ProductMemory::Stage& stage, const Barrier& full,
                                          const CUtensorMap* a_map, const CUtensorMap* b_map,
                                          const Tile& tile, int depth) {
  if constexpr (kMajorA<product> == Major::outer) {
#pragma unroll
    for (int strip = 0; strip < kTileRows / 64; ++strip)
      tma_load(stage.a + strip * kStripBytes, a_map, full, tile.row + 64 * strip, tile.first + depth, 0);
  } else {
    tma_load(stage.a, a_map, full, depth, tile.row, 0);
  }
  if constexpr (kMajorB<product> == Major::outer) {
    const int group = product == Product::input_gradient ? tile.group : 0;
#pragma unroll
    for (int strip = 0; strip < kTileColumns / 64; ++strip)
      tma_load(stage.b + strip * kStripBytes, b_map, full, tile.column + 64 * strip, tile.first + depth,
               group);
  } else {
    tma_load(stage.b, b_map, full, depth, tile.column, tile.group);
  }
}

/// One thread of the block.
template <Product product, class Out>
__device__ __forceinline__ void load_tiles(ProductMemory& memory, const CUtensorMap* a_map,
                                           const CUtensorMap* b_map, const ProductArguments<Out>& arguments) {
  prefetch_map(a_map);
  prefetch_map(b_map);
  unsigned next = blockIdx.x;
  std::uint32_t step = 0;
  for (std::uint32_t count = 0;; ++count) {
    const RingPosition<kTileQueue> place(count);
    memory.tile_empty[place.index].wait_or_trap(place.parity ^ 1);
    Tile tile{.group = -1};
    const bool is_last = next >= unsigned(memory.table.tiles);
    if (!is_last) tile = tile_at<product>(memory.table, arguments.extents, int(next));
    memory.tile[place.index] = tile;
    memory.tile_full[place.index].arrive();
    if (is_last) break;
    next = gridDim.x + atomicAdd(&arguments.counter[0], 1u);  // a tile ahead: its latency is hidden
    for (int depth = 0; depth < tile.depth; depth += kStepDepth, ++step) {
      const RingPosition<kStages> at(step);
      memory.empty[at.index].wait_or_trap(at.parity ^ 1);
      memory.full[at.index].arrive_and_expect(sizeof(memory.stages[0]));
      load_step<product>(memory.stages[at.index], memory.full[at.index], a_map, b_map, tile, depth);
    }
  }
  __threadfence();
  if (atomicAdd(&arguments.counter[1], 1u) != gridDim.x - 1) return;
  arguments.counter[0] = arguments.counter[1] = 0;
}

// Multiply.

__device__ __forceinline__ void release(Barrier& barrier) {
  if (threadIdx.x % 32 == 0) barrier.arrive();
}

/// Rows behind the group in the last step of a sum over rows: cleared in both factors, so that neither
/// another group's rows nor a NaN there take part. Each is one line of every strip, whichever way the line is
/// swizzled. All multiplying threads.
__device__ __forceinline__ void clear_lines(ProductMemory::Stage& stage, int first_line, int warpgroup) {
  const std::uint32_t strips = shared_address(&stage);  // of a, then of b
  const int pieces = (kStepDepth - first_line) * 8;
  for (int strip = warpgroup; strip < int(sizeof(stage)) / kStripBytes; strip += 2) {
    for (int piece = int(threadIdx.x) % 128; piece < pieces; piece += 128)
      store_shared(strips + std::uint32_t(strip * kStripBytes + first_line * 128 + piece * 16),
                   uint4{0, 0, 0, 0});
  }
  fence_async_proxy();
  sync_threads<256>(1);
}

/// A multiplying warpgroup, and where it is in the ring of stages.
struct Multiplier {
  int warpgroup;  // 0 or 1
  std::uint32_t step = 0;
};

/// All steps of a tile, the first `Columns` columns of it. A stage is handed back when the products of the
/// next one have been queued behind its own.
template <Product product, int Columns>
__device__ __forceinline__ void multiply(ProductMemory& memory, const Tile& tile, Multiplier& self,
                                         float (&d)[kTileColumns / 2]) {
  const std::uint32_t first_block = std::uint32_t(self.warpgroup) * 64 * 128;  // 64 rows of a, or a strip
  std::uint32_t before = 0;
  for (int depth = 0; depth < tile.depth; depth += kStepDepth, ++self.step) {
    const RingPosition<kStages> at(self.step);
    auto& stage = memory.stages[at.index];
    memory.full[at.index].wait(at.parity);
    if constexpr (product == Product::weight_gradient) {
      if (tile.depth - depth < kStepDepth) clear_lines(stage, tile.depth - depth, self.warpgroup);
    }
    const std::uint64_t a = wgmma_factor<kMajorA<product>>(shared_address(stage.a) + first_block);
    const std::uint64_t b = wgmma_factor<kMajorB<product>>(shared_address(stage.b));
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kStepDepth / 16; ++k)
      wgmma<kMajorA<product>, kMajorB<product>>(Width<Columns>{}, d, a + k * kWgmmaStep<kMajorA<product>>,
                                                b + k * kWgmmaStep<kMajorB<product>>);
    wgmma_commit();
    if (depth > 0) {
      wgmma_wait<1>();
      release(memory.empty[before]);
    }
    before = at.index;
  }
  wgmma_wait<0>();
  if (tile.depth > 0) release(memory.empty[before]);
  wgmma_settle(d);
}

/// Only as many columns as exist, in steps that pay.
template <Product product>
__device__ __forceinline__ void multiply(ProductMemory& memory, const Tile& tile, int columns,
                                         Multiplier& self, float (&d)[kTileColumns / 2]) {
  if (columns > 128) {
    multiply<product, kTileColumns>(memory, tile, self, d);
  } else if (columns > 64) {
    multiply<product, 128>(memory, tile, self, d);
  } else {
    multiply<product, 64>(memory, tile, self, d);
  }
}

/// Hands on the stages of a tile in which this warpgroup has no rows.
__device__ __forceinline__ void skip_steps(ProductMemory& memory, const Tile& tile, Multiplier& self) {
  for (int depth = 0; depth < tile.depth; depth += kStepDepth, ++self.step) {
    const RingPosition<kStages> at(self.step);
    memory.full[at.index].wait(at.parity);
    __syncwarp();
    release(memory.empty[at.index]);
  }
}

// Store.

/// The rows that this warp holds; `rows` and `columns` exist from `row` and the tile's column on.
template <Product product, Into into, class Out>
__device__ __forceinline__ void store_rows(float (&d)[kTileColumns / 2], std::uint8_t* buffers,
                                           const Tile& tile, int row, const CUtensorMap* result_map,
                                           const ProductArguments<Out>& arguments) {
  const ProductExtents& extents = arguments.extents;
  const int rows = tile.rows - row, columns = extents.columns - tile.column;
  if (rows <= 0) return;
  if constexpr (sizeof(Out) == 4) {
    store_warp<into>(d, buffers, MappedResult{result_map, tile.row + row, tile.column, tile.group, columns});
  } else {
    const std::int64_t group_row =
        product == Product::weight_gradient ? std::int64_t(tile.group) * extents.rows : 0;
    Out* first = arguments.result + (group_row + tile.row + row) * extents.columns + tile.column;
    const WarpResult result{first, extents.columns, rows, columns};
    if constexpr (into == Into::add) {
      add_warp(d, shared_address(buffers), result);
    } else {
      store_warp(d, result);
    }
  }
}

/// The old values of the tile that this warp will add to, on their way to L2 while it is computed.
template <class Out>
__device__ __forceinline__ void prefetch_rows(const Tile& tile, int row,
                                              const ProductArguments<Out>& arguments) {
  const ProductExtents& extents = arguments.extents;
  const int lane = int(threadIdx.x) % 32;
  if (tile.depth == 0 || lane >= kWarpRows || row + lane >= tile.rows) return;
  const std::int64_t at = std::int64_t(tile.group) * extents.rows + tile.row + row + lane;
  prefetch_l2(arguments.result + at * extents.columns + tile.column,
              std::uint32_t(min(kTileColumns, extents.columns - tile.column)) * sizeof(Out));
}

/// All threads of the multiplying warpgroups.
template <Product product, Into into, class Out>
__device__ __forceinline__ void multiply_tiles(ProductMemory& memory, const CUtensorMap* result_map,
                                               const ProductArguments<Out>& arguments) {
  const int warp = int(threadIdx.x) / 32 - 4;
  Multiplier self{.warpgroup = warp / 4};
  const int first_row = self.warpgroup * 64, warp_row = first_row + warp % 4 * kWarpRows;
  std::uint8_t* buffers = memory.staging[warp];
  for (std::uint32_t count = 0;; ++count) {
    const RingPosition<kTileQueue> place(count);
    memory.tile_full[place.index].wait(place.parity);
    const Tile tile = memory.tile[place.index];
    memory.tile_empty[place.index].arrive();
    if (tile.group < 0) break;
    if (into == Into::add && tile.depth == 0) continue;  // nothing to add
    if constexpr (into == Into::add && sizeof(Out) == 2) prefetch_rows(tile, warp_row, arguments);
    float d[kTileColumns / 2];
#pragma unroll
    for (float& value : d) value = 0;
    if (product != Product::weight_gradient && tile.rows <= first_row) {  // else both clear lines together
      skip_steps(memory, tile, self);
    } else {
      multiply<product>(memory, tile, arguments.extents.columns - tile.column, self, d);
    }
    store_rows<product, into>(d, buffers, tile, warp_row, result_map, arguments);
  }
  if (sizeof(Out) == 4 && threadIdx.x % 32 == 0) tma_wait_all();
  __syncwarp();
}

template <Product product, Into into, class Out>
__global__ void __launch_bounds__(kProductThreads, 1)
    grouped_product(const __grid_constant__ CUtensorMap a_map, const __grid_constant__ CUtensorMap b_map,
                    const __grid_constant__ CUtensorMap result_map,
                    const __grid_constant__ ProductArguments<Out> arguments) {
  extern __shared__ __align__(1024) std::uint8_t dynamic_memory[];
  if (shared_address(dynamic_memory) % 1024 != 0) __trap();  // the swizzle goes by address
  auto& memory = *reinterpret_cast<ProductMemory*>(dynamic_memory);
  if (threadIdx.x == 0) {
    for (Barrier& barrier : memory.full) barrier.init(1);
    for (Barrier& barrier : memory.empty) barrier.init(8);  // multiplying warps
    for (Barrier& barrier : memory.tile_full) barrier.init(1);
    for (Barrier& barrier : memory.tile_empty) barrier.init(256);  // multiplying threads
    publish_barriers();
  }
  make_table<product>(memory.table, arguments.starts, arguments.extents);
  constexpr int kMultiplyRegisters = 232;
  constexpr int kLoadRegisters = 3 * 168 - 2 * kMultiplyRegisters;  // 168: of 384 threads that share 64 Ki
  if (threadIdx.x < 128) {
    shrink_registers<kLoadRegisters>();
    if (threadIdx.x == 0) load_tiles<product>(memory, &a_map, &b_map, arguments);
    __syncwarp();
  } else {
    grow_registers<kMultiplyRegisters>();
    multiply_tiles<product, into>(memory, &result_map, arguments);
  }
}

}  // namespace moebius::kernels
