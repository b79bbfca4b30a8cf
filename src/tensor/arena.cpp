#include "tensor/arena.h"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <new>
#include <stdexcept>

#include "base/error.h"
#include "base/text.h"

namespace moebius {
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

template <Space S, class Source>
Arena<S, Source>::~Arena() {
  for (const Chunk& chunk : chunks_) Source::release(chunk.data);
}

template <Space S, class Source>
void* Arena<S, Source>::take(std::int64_t bytes) {
  const std::int64_t rounded = round_up(std::max<std::int64_t>(bytes, 1), Source::kAlignment);
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

template <Space S, class Source>
void* Arena<S, Source>::allocate(std::int64_t bytes) const {
  try {
    return Source::allocate(std::size_t(bytes));
  } catch (const std::bad_alloc&) {
    throw ClusterError(
        fmt::format("no memory for another {} of {} ({} are in use); start more ranks or fewer on a node",
                    bytes_text(bytes), purpose_, bytes_text(used_)));
  }
}

template <Space S, class Source>
void Arena<S, Source>::reserve(std::int64_t bytes) {
  if (used_ > 0) throw std::logic_error("arena " + purpose_ + ": reserved while in use");
  for (const Chunk& chunk : chunks_) Source::release(chunk.data);
  chunks_.clear();
  const std::int64_t size = round_up(std::max<std::int64_t>(bytes, 1), Source::kAlignment);
  chunks_.push_back({static_cast<std::byte*>(allocate(size)), size, 0});
  current_ = 0;
}

template <Space S, class Source>
typename Arena<S, Source>::Mark Arena<S, Source>::mark() const {
  return {current_, current_ < chunks_.size() ? chunks_[current_].used : 0};
}

template <Space S, class Source>
void Arena<S, Source>::release(Mark mark) {
  for (std::size_t i = mark.chunk; i < chunks_.size(); ++i) {
    const std::int64_t kept = i == mark.chunk ? mark.used : 0;
    used_ -= chunks_[i].used - kept;
    chunks_[i].used = kept;
  }
  current_ = mark.chunk;
  if (used_ == 0 && chunks_.size() > 1) merge_chunks();
}

template <Space S, class Source>
void Arena<S, Source>::merge_chunks() {
  for (const Chunk& chunk : chunks_) Source::release(chunk.data);
  chunks_.clear();
  chunk_bytes_ = std::max(chunk_bytes_, peak_);
}

template class Arena<Space::host>;
template class Arena<Space::host, StagingMemory<Space::host>>;
#if MOEBIUS_CUDA
template class Arena<Space::device>;
template class Arena<Space::host, StagingMemory<Space::device>>;
#endif

}  // namespace moebius
