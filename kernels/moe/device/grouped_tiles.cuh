#pragma once
#include <cstdint>

#include "kernels/device/barrier.cuh"
#include "kernels/device/wgmma.cuh"

/// How the products of all groups are cut into tiles, on the device: only it knows the sizes of the groups.
namespace moebius::kernels {

enum class Product : std::uint8_t { forward, input_gradient, weight_gradient };

inline constexpr int kMaxGroups = 256;
/// A tile is computed in steps of kStepDepth by two warpgroups, 64 rows each.
inline constexpr int kTileRows = 128, kTileColumns = 256, kStepDepth = 64;
inline constexpr int kProductThreads = 384;  // a warpgroup that loads, two that multiply

/// What does not depend on the sizes of the groups. The result of a tile has `columns` columns in all.
struct ProductExtents {
  int groups;
  int rows;     // weight gradient: of the result of one group
  int columns;  // of the result
  int depth;    // forward, input gradient: what is summed over
};

/// Work of one tile; group -1 ends it.
struct Tile {
  int group;
  int row;     // first row: among all rows of x and y, or of the group's weight gradient
  int column;  // first column
  int rows;    // of the result, from `row` on: more than a tile has, or fewer
  int first;   // weight gradient: the first row that is summed over
  int depth;   // that is summed over
  [[nodiscard]] __device__ int steps() const { return (depth + kStepDepth - 1) / kStepDepth; }
};

/// In shared memory; every block makes its own.
struct GroupTable {
  int start[kMaxGroups + 1];          // first row of each group
  int first_tile[kMaxGroups + 1];     // forward, input gradient
  std::uint16_t by_size[kMaxGroups];  // weight gradient: groups by falling size, so that long tiles go first
  int tiles;
};

__device__ __forceinline__ int tiles_along(int extent, int tile) {
  return (extent + tile - 1) / tile;
}

/// One warp: first_tile is the running sum of the tiles of the groups before.
__device__ __forceinline__ void count_tiles(GroupTable& table, int groups, int column_tiles) {
  const int lane = int(threadIdx.x) % 32;
  int before = 0;
  for (int base = 0; base < groups; base += 32) {
    const int g = base + lane;
    const int tiles =
        g < groups ? tiles_along(table.start[g + 1] - table.start[g], kTileRows) * column_tiles : 0;
    int sum = tiles;
    for (int offset = 1; offset < 32; offset *= 2) {
      const int below = __shfl_up_sync(0xffffffffu, sum, offset);
      if (lane >= offset) sum += below;
    }
    if (g < groups) table.first_tile[g] = before + sum - tiles;
    before += __shfl_sync(0xffffffffu, sum, 31);
  }
  if (lane == 0) table.first_tile[groups] = table.tiles = before;
}

/// All threads of the block; they synchronise.
template <Product product>
__device__ __forceinline__ void make_table(GroupTable& table, const int* starts,
                                           const ProductExtents& extents) {
  const int groups = extents.groups, column_tiles = tiles_along(extents.columns, kTileColumns);
  for (int g = int(threadIdx.x); g <= groups; g += kProductThreads) table.start[g] = starts[g];
  __syncthreads();
  if constexpr (product == Product::weight_gradient) {
    for (int g = int(threadIdx.x); g < groups; g += kProductThreads) {
      const int size = table.start[g + 1] - table.start[g];
      int position = 0;
      for (int other = 0; other < groups; ++other) {
        const int others = table.start[other + 1] - table.start[other];
        position += others > size || (others == size && other < g) ? 1 : 0;
      }
      table.by_size[position] = std::uint16_t(g);
    }
    if (threadIdx.x == 0) table.tiles = groups * tiles_along(extents.rows, kTileRows) * column_tiles;
  } else {
    if (threadIdx.x < 32) count_tiles(table, groups, column_tiles);
  }
  __syncthreads();
}

/// Columns go fastest, then rows: the blocks that run together share rows of activations and a group's
/// weight.
template <Product product>
__device__ __forceinline__ Tile tile_at(const GroupTable& table, const ProductExtents& extents, int index) {
  const int column_tiles = tiles_along(extents.columns, kTileColumns);
  Tile tile;
  if constexpr (product == Product::weight_gradient) {
    const int tiles_each = tiles_along(extents.rows, kTileRows) * column_tiles;
    tile.group = table.by_size[index / tiles_each];
    index %= tiles_each;
    tile.row = index / column_tiles * kTileRows;
    tile.rows = extents.rows - tile.row;
    tile.first = table.start[tile.group];
    tile.depth = table.start[tile.group + 1] - tile.first;
  } else {
    int low = 0,
        high = extents.groups;  // the last group whose first tile is at or before index: never an empty one
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (table.first_tile[middle] <= index ? low : high) = middle;
    }
    tile.group = low;
    index -= table.first_tile[low];
    tile.row = table.start[low] + index / column_tiles * kTileRows;
    tile.rows = table.start[low + 1] - tile.row;
    tile.first = 0;
    tile.depth = extents.depth;
  }
  tile.column = index % column_tiles * kTileColumns;
  return tile;
}

}  // namespace moebius::kernels
