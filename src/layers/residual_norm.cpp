#include "layers/residual_norm.h"

#include "kernels/norm/rmsnorm.h"

namespace moebius::layers {

template <Platform P>
void ResidualNorm<P>::forward(const Input& input, Saved& saved, Context<P>& context) const {
  mark(Part::norms, context.queue);
  const auto [tokens, hidden] = input.stream.shape;
  saved.normed = context.remade.template make<T>(tokens, hidden);
  saved.inv_rms = context.activations.template make<float>(tokens);
  if (input.delta.data == nullptr) {
    saved.sum = input.stream;
    kernels::rmsnorm_forward(
        kernels::RmsNormForward<T, kSpace>{
            .x = input.stream, .gain = gain, .y = saved.normed, .inv_rms = saved.inv_rms, .epsilon = epsilon},
        context.queue);
    return;
  }
  saved.sum = input.sum;
  kernels::add_rmsnorm_forward(kernels::AddRmsNormForward<T, kSpace>{.x = input.stream,
                                                                     .delta = input.delta,
                                                                     .gain = gain,
                                                                     .sum = input.sum,
                                                                     .y = saved.normed,
                                                                     .inv_rms = saved.inv_rms,
                                                                     .epsilon = epsilon},
                               context.queue);
}

template <Platform P>
void ResidualNorm<P>::remake(Saved& saved, Context<P>& context) const {
  mark(Part::norms, context.queue);
  saved.normed = context.remade.template make<T>(saved.sum.shape);
  kernels::rmsnorm_forward(
      kernels::RmsNormForward<T, kSpace>{
          .x = saved.sum, .gain = gain, .y = saved.normed, .inv_rms = saved.inv_rms, .epsilon = epsilon},
      context.queue);
}

template <Platform P>
void ResidualNorm<P>::backward(const Gradient& gradient, const Saved& saved, View<G, 1, kSpace> dgain,
                               Context<P>& context) const {
  mark(Part::norms, context.queue);
  kernels::rmsnorm_backward(kernels::RmsNormBackward<T, kSpace, G>{.dy = gradient.dnormed,
                                                                   .x = saved.sum,
                                                                   .gain = gain,
                                                                   .inv_rms = saved.inv_rms,
                                                                   .add = gradient.beside,
                                                                   .dx = gradient.dstream,
                                                                   .dgain = dgain,
                                                                   .into = context.into},
                            context.queue);
}

#define INSTANTIATE(P) template struct ResidualNorm<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::layers
