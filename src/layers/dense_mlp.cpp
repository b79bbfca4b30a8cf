#include "layers/dense_mlp.h"

#include "kernels/dense/swiglu.h"
#include "layers/linear.h"

namespace moebius::layers {

template <Platform P>
void DenseMlp<P>::remake(Saved& saved, Context<P>& context) const {
  mark(Part::dense_mlp, context.queue);
  const ArenaScope scope(context.workspace);
  const View<const T, 2, kSpace> x = gather_tokens(name, saved.normed, context);
  const std::int64_t tokens = x.shape[0], width = weights.down.shape[1];
  saved.gate_up = context.remade.template make<T>(tokens, 2 * width);
  saved.active = context.remade.template make<T>(tokens, width);
  linear<T, T, kSpace>(x, weights.gate_up, saved.gate_up, context.queue);
  const Matrix<T, kSpace> gate_up = saved.gate_up;
  saved.projected.gate = adapter_gate().forward(x, gate_up.column_block(0, width), context.remade, context);
  saved.projected.up = adapter_up().forward(x, gate_up.column_block(width, width), context.remade, context);
  kernels::swiglu_forward(kernels::SwigluForward<T, kSpace>{.gate_up = saved.gate_up, .y = saved.active},
                          context.queue);
}

template <Platform P>
void DenseMlp<P>::forward(View<const T, 2, kSpace> normed, View<T, 2, kSpace> delta, Saved& saved,
                          Context<P>& context) const {
  saved.normed = normed;
  remake(saved, context);
  const ArenaScope scope(context.workspace);
  const View<T, 2, kSpace> whole = partial_sums(delta, context);
  linear<T, T, kSpace>(saved.active, weights.down, whole, context.queue);
  saved.projected.down =
      adapter_down().forward(saved.active, Matrix<T, kSpace>(whole), context.activations, context);
  sum_to_parts<P>(name, whole, delta, context);
}

template <Platform P>
void DenseMlp<P>::backward(const BlockGradient<P>& gradient, const Saved& saved, const Gradients& gradients,
                           Context<P>& context) const {
  mark(Part::dense_mlp, context.queue);
  const ArenaScope scope(context.workspace);
  const View<const T, 2, kSpace> dy = gather_gradient(name, gradient.ddelta, context);
  const View<const T, 2, kSpace> x = gather_tokens(name, saved.normed, context);
  const View<T, 2, kSpace> dactive = context.workspace.template make<T>(saved.active.shape);
  const View<T, 2, kSpace> dgate_up = context.product_inputs().template make<T>(saved.gate_up.shape);
  weight_gradient<P>(dy, saved.active, gradients.down, context);
  linear_input_gradient<T, kSpace>(dy, weights.down, dactive, Into::overwrite, context.queue);
  adapter_down().backward({.dy = dy, .x = saved.active, .projected = saved.projected.down, .dx = dactive},
                          gradients.adapter.down, context);
  kernels::swiglu_backward(
      kernels::SwigluBackward<T, kSpace>{.dy = dactive, .gate_up = saved.gate_up, .dgate_up = dgate_up},
      context.queue);
  weight_gradient<P>(dgate_up, x, gradients.gate_up, context);
  const View<T, 2, kSpace> whole = partial_sums(gradient.dnormed, context);
  linear_input_gradient<T, kSpace>(dgate_up, weights.gate_up, whole, Into::overwrite, context.queue);
  const Matrix<const T, kSpace> dboth = dgate_up;
  const std::int64_t width = weights.down.shape[1];
  adapter_gate().backward(
      {.dy = dboth.column_block(0, width), .x = x, .projected = saved.projected.gate, .dx = whole},
      gradients.adapter.gate, context);
  adapter_up().backward(
      {.dy = dboth.column_block(width, width), .x = x, .projected = saved.projected.up, .dx = whole},
      gradients.adapter.up, context);
  sum_to_parts<P>(name, whole, gradient.dnormed, context);
}

#define INSTANTIATE(P) template struct DenseMlp<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::layers
