#include "layers/embedding.h"

#include "kernels/embedding/embedding.h"

namespace moebius::layers {

template <Platform P>
void Embedding<P>::forward(View<const std::int32_t, 1, kSpace> ids, View<T, 2, kSpace> stream,
                           Context<P>& context) const {
  mark(Part::embedding, context.queue);
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
                            View<G, 2, kSpace> dtable, kernels::Into into, Context<P>& context) const {
  mark(Part::embedding, context.queue);
  const ArenaScope scope(context.workspace);
  kernels::embedding_backward(
      kernels::EmbeddingBackward<T, kSpace, G>{.dy = gather_tokens(name, dstream, context),
                                               .ids = ids,
                                               .vocab_begin = vocab_begin,
                                               .dtable = dtable,
                                               .into = into},
      context.queue);
}

#define INSTANTIATE(P) template struct Embedding<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::layers
