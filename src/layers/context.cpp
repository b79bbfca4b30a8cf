#include "layers/context.h"

#include "kernels/update/elementwise.h"
#include "parallel/sequence_parallel.h"

namespace moebius::layers {

template <Platform P>
View<const typename P::Storage, 2, P::kSpace> gather_tokens(
    std::string_view name, View<const typename P::Storage, 2, P::kSpace> part, Context<P>& context) {
  const std::int64_t degree = context.degree(Axis::tensor);
  if (degree == 1) return part;
  const auto whole =
      context.product_inputs().template make<typename P::Storage>(part.shape[0] * degree, part.shape[1]);
  parallel::gather_tokens(context.exchange, name, part, whole, context.queue);
  return whole;
}

template <Platform P>
View<const typename P::Storage, 2, P::kSpace> gather_gradient(
    std::string_view name, View<const typename P::Storage, 2, P::kSpace> part, Context<P>& context) {
  using T = typename P::Storage;
  if (context.degree(Axis::tensor) > 1 || context.later == nullptr) return gather_tokens(name, part, context);
  const View<T, 2, P::kSpace> copy = context.product_inputs().template make<T>(part.shape);
  kernels::copy<T>(part.flat(), copy.flat(), context.queue);
  return copy;
}

template <Platform P>
View<typename P::Storage, 2, P::kSpace> partial_sums(View<typename P::Storage, 2, P::kSpace> part,
                                                     Context<P>& context) {
  const std::int64_t degree = context.degree(Axis::tensor);
  if (degree == 1) return part;
  return context.workspace.template make<typename P::Storage>(part.shape[0] * degree, part.shape[1]);
}

template <Platform P>
void sum_to_parts(std::string_view name, View<const typename P::Storage, 2, P::kSpace> whole,
                  View<typename P::Storage, 2, P::kSpace> part, Context<P>& context) {
  if (context.degree(Axis::tensor) == 1) return;
  parallel::scatter_sum_tokens(context.exchange, name, whole, part, context.queue);
}

#define INSTANTIATE(P)                                                                               \
  template View<const P::Storage, 2, P::kSpace> gather_tokens(                                       \
      std::string_view, View<const P::Storage, 2, P::kSpace>, Context<P>&);                          \
  template View<const P::Storage, 2, P::kSpace> gather_gradient(                                     \
      std::string_view, View<const P::Storage, 2, P::kSpace>, Context<P>&);                          \
  template View<P::Storage, 2, P::kSpace> partial_sums(View<P::Storage, 2, P::kSpace>, Context<P>&); \
  template void sum_to_parts(std::string_view, View<const P::Storage, 2, P::kSpace>,                 \
                             View<P::Storage, 2, P::kSpace>, Context<P>&);
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::layers
