#include <new>

#include "tensor/arena.h"
#include "tensor/device/check.h"
#include "tensor/transfer.h"

namespace moebius {
namespace {

void* memory_or_throw(cudaError_t status, void* memory) {
  if (status == cudaSuccess) return memory;
  static_cast<void>(cudaGetLastError());  // running out is no fault that later calls should see
  throw std::bad_alloc();
}

}  // namespace

template <>
void* Memory<Space::device>::allocate(std::size_t bytes) {
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, bytes);
  return memory_or_throw(status, memory);
}

template <>
void Memory<Space::device>::release(void* memory) noexcept {
  static_cast<void>(cudaFree(memory));
}

void* StagingMemory<Space::device>::allocate(std::size_t bytes) {
  void* memory = nullptr;
  const cudaError_t status = cudaHostAlloc(&memory, bytes, cudaHostAllocDefault);
  return memory_or_throw(status, memory);
}

void StagingMemory<Space::device>::release(void* memory) noexcept {
  static_cast<void>(cudaFreeHost(memory));
}

void upload_bytes(const void* from, void* to, std::int64_t bytes, Queue<Space::device> queue) {
  if (bytes > 0) check(cudaMemcpyAsync(to, from, std::size_t(bytes), cudaMemcpyHostToDevice, queue.stream));
}

void download_bytes(const void* from, void* to, std::int64_t bytes, Queue<Space::device> queue) {
  if (bytes > 0) check(cudaMemcpyAsync(to, from, std::size_t(bytes), cudaMemcpyDeviceToHost, queue.stream));
}

void wait(Queue<Space::device> queue) {
  check(cudaStreamSynchronize(queue.stream));
}

}  // namespace moebius
