#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tensor/queue.h"

/// Copies of rows that lie apart, and zeros: what transfer.h does not do. In the host space done on return;
/// for a device queued, and memory of the host must be staging memory (arena.h) that nobody touches until
/// `wait`.
namespace moebius {

/// `rows` rows of `width` bytes; neighbours begin `from_pitch` and `to_pitch` bytes apart.
struct RowCopy {
  const std::byte* from = nullptr;
  std::int64_t from_pitch = 0;
  std::byte* to = nullptr;
  std::int64_t to_pitch = 0;
  std::int64_t width = 0, rows = 0;
};

/// From the host to the device, or within either.
void copy_rows(const RowCopy& copy, Queue<Space::device> queue);
inline void copy_rows(const RowCopy& copy, Queue<Space::host>) {
  for (std::int64_t row = 0; row < copy.rows; ++row)
    std::memcpy(copy.to + row * copy.to_pitch, copy.from + row * copy.from_pitch, std::size_t(copy.width));
}

void clear_bytes(void* memory, std::int64_t bytes, Queue<Space::device> queue);
inline void clear_bytes(void* memory, std::int64_t bytes, Queue<Space::host>) {
  if (bytes > 0) std::memset(memory, 0, std::size_t(bytes));
}

}  // namespace moebius
