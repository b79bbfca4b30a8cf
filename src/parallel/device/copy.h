#pragma once
#include "tensor/device/check.h"
#include "tensor/queue.h"

namespace moebius::parallel {

/// What is left of a collective on an axis of degree 1, queued; nothing where both are the same place.
inline void copy_on_device(const void* from, void* to, std::int64_t bytes, Queue<Space::device> queue) {
  if (bytes > 0 && from != to)
    check(cudaMemcpyAsync(to, from, std::size_t(bytes), cudaMemcpyDeviceToDevice, queue.stream));
}

}  // namespace moebius::parallel
