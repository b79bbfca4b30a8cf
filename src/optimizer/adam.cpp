#include "optimizer/adam.h"

#include <cmath>

#include "kernels/update/adamw.h"
#include "kernels/update/elementwise.h"
#include "optimizer/gradient_norm.h"

namespace moebius::optimizer {

template <Space S>
Moments<S>::Moments(const models::ShardLayout& layout, Arena<S>& arena, Queue<S> queue)
    : exp_avg(layout, arena), exp_avg_sq(layout, arena) {
  clear(queue);
}

template <Space S>
void Moments<S>::clear(Queue<S> queue) {
  kernels::fill(exp_avg.flat(), 0.f, queue);
  kernels::fill(exp_avg_sq.flat(), 0.f, queue);
}

bool StepResult::is_finite() const {
  return std::isfinite(gradient_norm);
}

template <Platform P>
Adam<P>::Adam(const models::ShardLayout& layout, const AdamSettings& settings,
              parallel::Exchange<kSpace>& exchange, Arena<kSpace>& arena, Queue<kSpace> queue)
    : settings_(settings),
      exchange_(&exchange),
      sum_gradients_(layout, exchange),
      moments_(layout, arena, queue) {}

template <Platform P>
StepResult Adam<P>::step(const StepValues& values, const models::Shards<Storage, kSpace>& weights,
                         const models::Shards<float, kSpace>& gradients, Queue<kSpace> queue) {
  sum_gradients_(gradients, queue);
  StepResult result;
  result.gradient_norm = values.gradient_scale * gradient_norm(gradients, *exchange_, queue);
  if (!result.is_finite()) return result;
  result.clipping = clipping_factor(result.gradient_norm, settings_.clip_norm);

  float scale = float(values.gradient_scale * result.clipping);
  const models::ShardLayout& layout = weights.layout();
  for (std::size_t index = 0; index < layout.count(); ++index) {
    const bool decays = layout.table()[index].decay == models::Decay::yes;
    kernels::adamw(
        kernels::AdamW<kSpace>{
            .w = weights[index],
            .g = gradients[index],
            .m = moments_.exp_avg[index],
            .v = moments_.exp_avg_sq[index],
            .gradient_scale = View<const float, 1, kSpace>(&scale, {1}),
            .lr = values.lr,
            .beta1 = settings_.beta1,
            .beta2 = settings_.beta2,
            .epsilon = settings_.epsilon,
            .weight_decay = decays ? settings_.weight_decay : 0,
            .step = values.iteration + 1,
            .gradient_after = kernels::GradientAfter::clear,
        },
        queue);
  }
  return result;
}

template struct Moments<Space::host>;
template class Adam<HostFp32>;

}  // namespace moebius::optimizer
