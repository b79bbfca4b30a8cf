#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/math.h"
#include "tensor/view.h"

namespace moebius {

/// How bytes are had in a space; that of the current device is defined in device/memory.cu.
template <Space S>
struct Memory {
  static constexpr std::int64_t kAlignment = S == Space::host ? 64 : 256;  // bytes
  static void* allocate(std::size_t bytes);                                // aligned; throws std::bad_alloc
  static void release(void* memory) noexcept;
};

/// Host memory that copies to and from a space may use while the host goes on (pinned, for a device).
template <Space S>
struct StagingMemory : Memory<Space::host> {};
template <>
struct StagingMemory<Space::device> {
  static constexpr std::int64_t kAlignment = 256;
  static void* allocate(std::size_t bytes);
  static void release(void* memory) noexcept;
};

/// Memory for one purpose (weights, gradients, optimizer, activations, workspace), handed out as a stack:
/// `make` allocates on top, `release(mark)` takes back everything made since `mark()`. Views stay valid until
/// then. Chunks are kept, so a step that repeats allocates nothing from the system; when everything has been
/// taken back, several chunks become one of the largest size seen, so that steps of changing sizes leave no
/// gaps. Contents are undefined. Throws ClusterError, naming the purpose, where there is no more memory.
template <Space S, class Source = Memory<S>>
class Arena {
 public:
  struct Mark {
    std::size_t chunk = 0;
    std::int64_t used = 0;
  };

  explicit Arena(std::string purpose, std::int64_t chunk_bytes = std::int64_t{1} << 22)
      : purpose_(std::move(purpose)), chunk_bytes_(chunk_bytes) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  template <class T, std::size_t Rank>
  [[nodiscard]] View<T, int(Rank), S> make(std::array<std::int64_t, Rank> shape) {
    View<T, int(Rank), S> view(nullptr, shape);
    view.data = static_cast<T*>(take(view.size() * std::int64_t(sizeof(T))));
    return view;
  }
  template <class T>
  [[nodiscard]] View<T, 1, S> make(std::int64_t count) {
    return make<T>(std::array<std::int64_t, 1>{count});
  }
  template <class T>
  [[nodiscard]] View<T, 2, S> make(std::int64_t rows, std::int64_t columns) {
    return make<T>(std::array<std::int64_t, 2>{rows, columns});
  }

  /// Takes `bytes` at once, as one chunk, so that what is made later asks the system for nothing until they
  /// are used up. Only while nothing is in use.
  void reserve(std::int64_t bytes);
  [[nodiscard]] Mark mark() const;
  void release(Mark mark);
  [[nodiscard]] const std::string& purpose() const { return purpose_; }
  [[nodiscard]] std::int64_t used_bytes() const { return used_; }
  [[nodiscard]] std::int64_t peak_bytes() const { return peak_; }

 private:
  struct Chunk {
    std::byte* data;
    std::int64_t size, used;
  };
  void* take(std::int64_t bytes);
  [[nodiscard]] void* allocate(std::int64_t bytes) const;
  void merge_chunks();

  std::string purpose_;
  std::int64_t chunk_bytes_;
  std::vector<Chunk> chunks_;
  std::size_t current_ = 0;  // chunks before it are full, chunks after it are empty
  std::int64_t used_ = 0, peak_ = 0;
};

/// Memory on the host's side of copies to and from S, which run on while the host goes on: what is made stays
/// as it is until the copies are done and it is released.
template <Space S>
using Staging = Arena<Space::host, StagingMemory<S>>;

/// Releases on leaving the block what was made in it.
template <Space S>
class ArenaScope {
 public:
  explicit ArenaScope(Arena<S>& arena) : arena_(arena), mark_(arena.mark()) {}
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;
  ~ArenaScope() { arena_.release(mark_); }

 private:
  Arena<S>& arena_;
  typename Arena<S>::Mark mark_;
};

}  // namespace moebius
