#include "tensor/row_transfer.h"

#include "tensor/device/check.h"

namespace moebius {

void copy_rows(const RowCopy& copy, Queue<Space::device> queue) {
  if (copy.rows <= 0 || copy.width <= 0) return;
  // cudaMemcpyDefault: the addresses say where each side lies. A single row has no neighbour, so no pitch
  // either.
  const auto width = std::size_t(copy.width);
  const auto from_pitch = copy.rows == 1 ? width : std::size_t(copy.from_pitch);
  const auto to_pitch = copy.rows == 1 ? width : std::size_t(copy.to_pitch);
  check(cudaMemcpy2DAsync(copy.to, to_pitch, copy.from, from_pitch, width, std::size_t(copy.rows),
                          cudaMemcpyDefault, queue.stream));
}

void clear_bytes(void* memory, std::int64_t bytes, Queue<Space::device> queue) {
  if (bytes > 0) check(cudaMemsetAsync(memory, 0, std::size_t(bytes), queue.stream));
}

}  // namespace moebius
