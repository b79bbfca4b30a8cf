#pragma once
#include "base/bf16.h"
#include "kernels/into.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// Rows of the embedding table by token id:  y[t] = table[ids[t] - vocab_begin]. A rank may hold only the
/// rows vocab_begin .. vocab_begin + local_vocab - 1; ids of other ranks (and negative ones) give zeros, so
/// that the sum over ranks is the embedding. The adjoint adds dy[t] to the row it came from. G is the type
/// that gradients of weights are kept in.
namespace moebius::kernels {

template <class T, Space S>
struct EmbeddingForward {
  View<const T, 2, S> table;           // [local_vocab, hidden]
  View<const std::int32_t, 1, S> ids;  // [tokens]
  std::int64_t vocab_begin = 0;
  View<T, 2, S> y;  // [tokens, hidden]
};

template <class T, Space S, class G = float>
struct EmbeddingBackward {
  View<const T, 2, S> dy;              // [tokens, hidden]
  View<const std::int32_t, 1, S> ids;  // [tokens]
  std::int64_t vocab_begin = 0;
  View<G, 2, S> dtable;   // [local_vocab, hidden]; rows are summed in fp32, in token order
  Into into = Into::add;  // dtable; overwrite: rows of no token become zeros
};

template <class T>
void embedding_forward(const EmbeddingForward<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void embedding_forward(const EmbeddingForward<T, Space::device>&, Queue<Space::device>);
template <class T>
void embedding_backward(const EmbeddingBackward<T, Space::host>&, Queue<Space::host> = {});
template <class T, class G>
void embedding_backward(const EmbeddingBackward<T, Space::device, G>&, Queue<Space::device>);

template <class T, Space S>
void expect_shapes(const EmbeddingForward<T, S>& op) {
  expect_shape("embedding.y", op.y, {op.ids.shape[0], op.table.shape[1]});
}

template <class T, Space S, class G>
void expect_shapes(const EmbeddingBackward<T, S, G>& op) {
  expect_shape("embedding.dy", op.dy, {op.ids.shape[0], op.dtable.shape[1]});
}

}  // namespace moebius::kernels
