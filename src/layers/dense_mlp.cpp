#include "layers/dense_mlp.h"

#include "kernels/dense/swiglu.h"
#include "layers/linear.h"

namespace moebius::layers {

template <Platform P>
void DenseMlp<P>::forward(View<const T, 2, S> normed, View<T, 2, S> delta, Saved& saved,
                          Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  const View<const T, 2, S> x = gather_tokens(name, normed, context);
  const std::int64_t tokens = x.shape[0], width = weights.down.shape[1];
  saved.normed = normed;
  saved.gate_up = context.activations.template make<T>(tokens, 2 * width);
  saved.active = context.activations.template make<T>(tokens, width);
  linear<T, T, S>(x, weights.gate_up, saved.gate_up, context.queue);
  kernels::swiglu_forward(kernels::SwigluForward<T, S>{.gate_up = saved.gate_up, .y = saved.active},
                          context.queue);
  const View<T, 2, S> whole = partial_sums(delta, context);
  linear<T, T, S>(saved.active, weights.down, whole, context.queue);
  sum_to_parts<P>(name, whole, delta, context);
}

template <Platform P>
void DenseMlp<P>::backward(View<const T, 2, S> ddelta, View<T, 2, S> dnormed, const Saved& saved,
                           const Gradients& gradients, Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  const View<const T, 2, S> dy = gather_tokens(name, ddelta, context);
  const View<const T, 2, S> x = gather_tokens(name, saved.normed, context);
  const View<T, 2, S> dactive = context.workspace.template make<T>(saved.active.shape);
  const View<T, 2, S> dgate_up = context.workspace.template make<T>(saved.gate_up.shape);
  linear_weight_gradient<T, S>(dy, saved.active, gradients.down, context.queue);
  linear_input_gradient<T, S>(dy, weights.down, dactive, Into::overwrite, context.queue);
  kernels::swiglu_backward(
      kernels::SwigluBackward<T, S>{.dy = dactive, .gate_up = saved.gate_up, .dgate_up = dgate_up},
      context.queue);
  linear_weight_gradient<T, S>(dgate_up, x, gradients.gate_up, context.queue);
  const View<T, 2, S> whole = partial_sums(dnormed, context);
  linear_input_gradient<T, S>(dgate_up, weights.gate_up, whole, Into::overwrite, context.queue);
  sum_to_parts<P>(name, whole, dnormed, context);
}

template struct DenseMlp<HostFp32>;

}  // namespace moebius::layers
