#pragma once
#include <cuda.h>

#include <cstdint>

#include "kernels/device/barrier.cuh"

/// The tensor memory accelerator (PTX ISA, "cp.async.bulk.tensor"): one thread starts the copy of a box of a
/// tensor of three dims, innermost coordinate first. What lies outside of the tensor is read as zero and not
/// written. Maps are kernel parameters marked __grid_constant__.
namespace moebius::kernels {

__device__ __forceinline__ void prefetch_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/// To shared memory; tells `barrier` the bytes of the whole box.
__device__ __forceinline__ void tma_load(void* to, const CUtensorMap* map, const Barrier& barrier, int column,
                                         int row, int group) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], "
      "[%2];" ::"r"(shared_address(to)),
      "l"(map), "r"(barrier.address()), "r"(column), "r"(row), "r"(group)
      : "memory");
}

/// From shared memory, which must stay as it is until `tma_wait_read`; one group of copies.
__device__ __forceinline__ void tma_store(const CUtensorMap* map, const void* from, int column, int row,
                                          int group) {
  asm volatile(
      "cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];\n"
      "cp.async.bulk.commit_group;" ::"l"(map),
      "r"(shared_address(from)), "r"(column), "r"(row), "r"(group)
      : "memory");
}

/// The same, adding to what is there (in L2: nothing comes back to the block).
__device__ __forceinline__ void tma_add(const CUtensorMap* map, const void* from, int column, int row,
                                        int group) {
  asm volatile(
      "cp.reduce.async.bulk.tensor.3d.global.shared::cta.add.tile.bulk_group [%0, {%2, %3, %4}], [%1];\n"
      "cp.async.bulk.commit_group;" ::"l"(map),
      "r"(shared_address(from)), "r"(column), "r"(row), "r"(group)
      : "memory");
}

/// Until at most `Pending` of the last groups that this thread stored still read shared memory.
template <int Pending>
__device__ __forceinline__ void tma_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(Pending) : "memory");
}
/// Until all that this thread stored is in place.
__device__ __forceinline__ void tma_wait_all() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

/// Address and size are multiples of 16 bytes.
__device__ __forceinline__ void prefetch_l2(const void* from, std::uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}

}  // namespace moebius::kernels
