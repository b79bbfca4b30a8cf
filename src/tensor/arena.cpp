#include "tensor/arena.h"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <new>

#include "base/error.h"
#include "base/text.h"

namespace moebius {
namespace {

constexpr std::int64_t kAlignment = 64;  // a cache line, and enough for any vector load

}  // namespace

template <>
void* Memory<Space::host>::allocate(std::size_t bytes) {
  void* memory = std::aligned_alloc(kAlignment, std::size_t(round_up(std::int64_t(bytes), kAlignment)));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

template <>
void Memory<Space::host>::release(void* memory) noexcept {
  std::free(memory);
}

template <Space S>
Arena<S>::~Arena() {
  for (const Chunk& chunk : chunks_) Memory<S>::release(chunk.data);
}

template <Space S>
void* Arena<S>::take(std::int64_t bytes) {
  const std::int64_t rounded = round_up(std::max<std::int64_t>(bytes, 1), kAlignment);
  while (current_ < chunks_.size() && chunks_[current_].used + rounded > chunks_[current_].size) ++current_;
  if (current_ == chunks_.size()) {
    const std::int64_t size = std::max(rounded, chunk_bytes_);
    chunks_.push_back({static_cast<std::byte*>(allocate(size)), size, 0});
  }
  Chunk& chunk = chunks_[current_];
  void* memory = chunk.data + chunk.used;
  chunk.used += rounded;
  used_ += rounded;
  peak_ = std::max(peak_, used_);
  return memory;
}

template <Space S>
void* Arena<S>::allocate(std::int64_t bytes) const {
  try {
    return Memory<S>::allocate(std::size_t(bytes));
  } catch (const std::bad_alloc&) {
    throw ClusterError(
        fmt::format("no memory for another {} of {} ({} are in use); start more ranks or fewer on a node",
                    bytes_text(bytes), purpose_, bytes_text(used_)));
  }
}

template <Space S>
typename Arena<S>::Mark Arena<S>::mark() const {
  return {current_, current_ < chunks_.size() ? chunks_[current_].used : 0};
}

template <Space S>
void Arena<S>::release(Mark mark) {
  for (std::size_t i = mark.chunk; i < chunks_.size(); ++i) {
    const std::int64_t kept = i == mark.chunk ? mark.used : 0;
    used_ -= chunks_[i].used - kept;
    chunks_[i].used = kept;
  }
  current_ = mark.chunk;
  if (used_ == 0 && chunks_.size() > 1) merge_chunks();
}

template <Space S>
void Arena<S>::merge_chunks() {
  for (const Chunk& chunk : chunks_) Memory<S>::release(chunk.data);
  chunks_.clear();
  chunk_bytes_ = std::max(chunk_bytes_, peak_);
}

template class Arena<Space::host>;

}  // namespace moebius
