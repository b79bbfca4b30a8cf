#pragma once
#include <algorithm>
#include <cstring>
#include <span>

#include "tensor/arena.h"
#include "tensor/queue.h"

/// Copies between host memory and a space. In the host space they are plain copies, done on return. For a
/// device they are queued: the host's side must be staging memory (arena.h) that nobody touches until `wait`.
namespace moebius {

void upload_bytes(const void* from, void* to, std::int64_t bytes, Queue<Space::device> queue);
void download_bytes(const void* from, void* to, std::int64_t bytes, Queue<Space::device> queue);
inline void upload_bytes(const void* from, void* to, std::int64_t bytes, Queue<Space::host>) {
  if (bytes > 0) std::memcpy(to, from, std::size_t(bytes));
}
inline void download_bytes(const void* from, void* to, std::int64_t bytes, Queue<Space::host> queue) {
  upload_bytes(from, to, bytes, queue);
}

template <class T, Space S>
void upload(std::type_identity_t<View<const T, 1, Space::host>> from, View<T, 1, S> to, Queue<S> queue) {
  expect_shape("upload.from", from, to.shape);
  upload_bytes(from.data, to.data, to.size() * std::int64_t(sizeof(T)), queue);
}
template <class T, Space S>
void download(std::type_identity_t<View<const T, 1, S>> from, View<T, 1, Space::host> to, Queue<S> queue) {
  expect_shape("download.from", from, to.shape);
  download_bytes(from.data, to.data, to.size() * std::int64_t(sizeof(T)), queue);
}

/// A copy of host values in the space, in `arena`.
template <class T, Space S>
[[nodiscard]] View<T, 1, S> placed(std::type_identity_t<std::span<const T>> values, Arena<S>& arena,
                                   Staging<S>& staging, Queue<S> queue) {
  const auto count = std::int64_t(values.size());
  const View<T, 1, Space::host> staged = staging.template make<T>(count);
  std::copy(values.begin(), values.end(), staged.data);
  const View<T, 1, S> view = arena.template make<T>(count);
  upload<T, S>(staged, view, queue);
  return view;
}

/// Returns when everything that was queued is done. Throws std::runtime_error naming what failed on the
/// device.
void wait(Queue<Space::device> queue);
inline void wait(Queue<Space::host>) {}

}  // namespace moebius
