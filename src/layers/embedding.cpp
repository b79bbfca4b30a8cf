#include "layers/embedding.h"

#include "kernels/embedding/embedding.h"

namespace moebius::layers {

template <Platform P>
void Embedding<P>::forward(View<const std::int32_t, 1, kSpace> ids, View<T, 2, kSpace> stream,
                           Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  const View<T, 2, kSpace> whole = partial_sums(stream, context);
  kernels::embedding_forward(
      kernels::EmbeddingForward<T, kSpace>{
          .table = table, .ids = ids, .vocab_begin = vocab_begin, .y = whole},
      context.queue);
  sum_to_parts<P>(name, whole, stream, context);
}

template <Platform P>
void Embedding<P>::backward(View<const std::int32_t, 1, kSpace> ids, View<const T, 2, kSpace> dstream,
                            View<float, 2, kSpace> dtable, Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  kernels::embedding_backward(
      kernels::EmbeddingBackward<T, kSpace>{.dy = gather_tokens(name, dstream, context),
                                            .ids = ids,
                                            .vocab_begin = vocab_begin,
                                            .dtable = dtable},
      context.queue);
}

template struct Embedding<HostFp32>;

}  // namespace moebius::layers
