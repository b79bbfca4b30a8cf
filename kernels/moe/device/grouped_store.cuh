#pragma once
#include <cuda_bf16.h>

#include "base/bf16.h"
#include "kernels/device/tma.cuh"
#include "kernels/device/wgmma.cuh"
#include "kernels/into.h"

/// From accumulators to memory. bf16 goes straight from registers; fp32 by TMA, and bf16 that is added to
/// what is there, pass through a buffer of the warp's own in shared memory, 128 bytes of each of its 16 rows
/// at a time. In the buffer the 16-byte pieces of a line are permuted (piece ^ row % 8, as TMA's swizzle
/// does), so that no bank is asked twice.
namespace moebius::kernels {

inline constexpr int kWarpRows = 16;
inline constexpr int kStagingBytes = kWarpRows * 128, kStagingBuffers = 2;

/// Where a warp stores: its part of a result whose rows are `stride` apart. Columns are multiples of 8.
struct WarpResult {
  bf16* data;           // element (0, 0) of the warp's part
  std::int64_t stride;  // of rows
  int rows, columns;    // that exist from there on, more or fewer than the warp has
};

__device__ __forceinline__ std::uint32_t two_bf16(float low, float high) {
  const __nv_bfloat162 two = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&two);
}

/// Address of a 16-byte piece (0 to 7) of a row in the buffer.
__device__ __forceinline__ std::uint32_t staged(std::uint32_t buffer, int row, int piece) {
  return buffer + std::uint32_t(row * 128 + ((piece ^ (row % 8)) << 4));
}
__device__ __forceinline__ uint4 load_shared(std::uint32_t address) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address)
               : "memory");
  return v;
}
__device__ __forceinline__ void store_shared(std::uint32_t address, uint4 v) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(v.x), "r"(v.y), "r"(v.z),
               "r"(v.w)
               : "memory");
}
__device__ __forceinline__ void store_shared(std::uint32_t address, float a, float b) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(address), "f"(a), "f"(b) : "memory");
}

/// Four 8 x 8 matrices of bf16: the rows of the i-th lie at the addresses of lanes 8 i to 8 i + 7; a lane
/// holds two neighbours of row lane / 4 of each, as in wgmma's fragment.
__device__ __forceinline__ void store_matrices(std::uint32_t address, const std::uint32_t (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(r[0]),
               "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}
__device__ __forceinline__ void load_matrices(std::uint32_t address, std::uint32_t (&r)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/// 16 rows x 64 columns, of which a lane moves a 16-byte piece of rows lane / 8 + {0, 4, 8, 12}.
class WarpRows {
 public:
  __device__ __forceinline__ explicit WarpRows(int lane) : row_(lane / 8), piece_(lane % 8) {}

  /// What is there, to the buffer; zeros where the result ends.
  __device__ __forceinline__ void stage(std::uint32_t buffer, const WarpResult& from, int column) const {
    uint4 v[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
      v[i] =
          exists(from, i, column) ? *reinterpret_cast<const uint4*>(at(from, i, column)) : uint4{0, 0, 0, 0};
#pragma unroll
    for (int i = 0; i < 4; ++i) store_shared(staged(buffer, row_ + 4 * i, piece_), v[i]);
  }
  __device__ __forceinline__ void store(std::uint32_t buffer, const WarpResult& to, int column) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint4 v = load_shared(staged(buffer, row_ + 4 * i, piece_));
      if (exists(to, i, column)) *reinterpret_cast<uint4*>(at(to, i, column)) = v;
    }
  }

 private:
  [[nodiscard]] __device__ __forceinline__ bool exists(const WarpResult& result, int i, int column) const {
    return row_ + 4 * i < result.rows && column + piece_ * 8 < result.columns;
  }
  [[nodiscard]] __device__ __forceinline__ bf16* at(const WarpResult& result, int i, int column) const {
    return result.data + (row_ + 4 * i) * result.stride + column + piece_ * 8;
  }
  int row_, piece_;
};

/// Adds in fp32 and rounds once. `buffer`: kStagingBytes.
template <int Count>
__device__ __forceinline__ void add_warp(float (&d)[Count], std::uint32_t buffer, const WarpResult& result) {
  const int lane = int(threadIdx.x) % 32;
  const WarpRows rows(lane);
  const int matrix_row = lane % 16, matrix_piece = lane / 16;  // what this lane addresses in store_matrices
#pragma unroll
  for (int column = 0; column < 2 * Count; column += 64) {
    if (column >= result.columns) break;
    __syncwarp();  // what was in the buffer has been read
    rows.stage(buffer, result, column);
    __syncwarp();
#pragma unroll
    for (int pair = 0; pair < 4; ++pair) {  // 16 columns: rows 0 to 7 and 8 to 15 of 8, then of the next 8
      float* e = d + (column / 8 + 2 * pair) * 4;
      const std::uint32_t address = staged(buffer, matrix_row, 2 * pair + matrix_piece);
      std::uint32_t words[4];
      load_matrices(address, words);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        e[2 * i] += __uint_as_float(words[i] << 16);
        e[2 * i + 1] += __uint_as_float(words[i] & 0xffff0000u);
      }
      store_matrices(
          address, {two_bf16(e[0], e[1]), two_bf16(e[2], e[3]), two_bf16(e[4], e[5]), two_bf16(e[6], e[7])});
    }
    __syncwarp();
    rows.store(buffer, result, column);
  }
}

/// words[i] of lane j of four neighbours becomes words[j] of lane i.
__device__ __forceinline__ void transpose_among_four(std::uint32_t (&words)[4]) {
  const int lane = int(threadIdx.x) % 4;
#pragma unroll
  for (int distance = 1; distance <= 2; distance *= 2) {
    const bool is_upper = (lane & distance) != 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if ((i & distance) != 0) continue;
      std::uint32_t &low = words[i], &high = words[i + distance];
      const std::uint32_t other = __shfl_xor_sync(0xffffffffu, is_upper ? low : high, distance);
      (is_upper ? low : high) = other;
    }
  }
}

/// Four lanes hold a row's 8 columns of each of four neighbouring pieces; exchanged, each stores one piece of
/// 16 bytes, the four together 64 bytes of the row.
template <int Count>
__device__ __forceinline__ void store_warp(const float (&d)[Count], const WarpResult& result) {
  const int lane = int(threadIdx.x) % 32, row = lane / 4, piece = lane % 4;
#pragma unroll
  for (int column = 0; column < 2 * Count; column += 32) {
    if (column >= result.columns) break;
#pragma unroll
    for (int half = 0; half < 2; ++half) {  // rows 0 to 7, 8 to 15
      std::uint32_t words[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* e = d + (column / 8 + i) * 4 + 2 * half;
        words[i] = two_bf16(e[0], e[1]);
      }
      transpose_among_four(words);
      const int at_row = row + 8 * half, at_column = column + 8 * piece;
      if (at_row < result.rows && at_column < result.columns)
        *reinterpret_cast<uint4*>(result.data + at_row * result.stride + at_column) = {words[0], words[1],
                                                                                       words[2], words[3]};
    }
  }
}

/// Where TMA stores a warp's part.
struct MappedResult {
  const CUtensorMap* map;
  int row, column, group;
  int columns;  // that exist from there on
};

/// Copies out (or adds, in L2) by TMA from kStagingBuffers buffers in turn, so that the last ones are still
/// being read when the next are filled; the map cuts off what does not exist. Whoever called this calls
/// tma_wait_all before the block's shared memory goes away.
template <Into into, int Count>
__device__ __forceinline__ void store_warp(const float (&d)[Count], std::uint8_t* buffers,
                                           const MappedResult& result) {
  static_assert(2 * Count / 32 % kStagingBuffers == 0, "the next call begins with the first buffer again");
  const int lane = int(threadIdx.x) % 32, row = lane / 4;
#pragma unroll
  for (int column = 0; column < 2 * Count; column += 32) {
    if (column >= result.columns) break;
    std::uint8_t* buffer = buffers + column / 32 % kStagingBuffers * kStagingBytes;
    if (lane == 0) tma_wait_read<kStagingBuffers - 1>();
    __syncwarp();
#pragma unroll
    for (int part = 0; part < 4; ++part) {  // 8 columns each
      const float* e = d + (column / 8 + part) * 4;
      const int piece = 2 * part + lane / 2 % 2;
      const std::uint32_t address = staged(shared_address(buffer), row, piece) + std::uint32_t(lane % 2 * 8);
      store_shared(address, e[0], e[1]);
      store_shared(address + 8 * 128, e[2], e[3]);  // row + 8: the same permutation
    }
    fence_async_proxy();
    __syncwarp();
    if (lane != 0) continue;
    if (into == Into::add) {
      tma_add(result.map, buffer, result.column + column, result.row, result.group);
    } else {
      tma_store(result.map, buffer, result.column + column, result.row, result.group);
    }
  }
  if (lane == 0 && result.columns < 2 * Count) tma_wait_read<0>();  // the turn was not finished
}

}  // namespace moebius::kernels
