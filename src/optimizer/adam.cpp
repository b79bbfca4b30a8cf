#include "optimizer/adam.h"

#include <cmath>

#include "kernels/update/adamw.h"
#include "kernels/update/clip.h"
#include "kernels/update/elementwise.h"
#include "optimizer/gradient_norm.h"
#include "tensor/transfer.h"

namespace moebius::optimizer {

template <Space S>
Moments<S>::Moments(const models::Ownership& ownership, Dtype dtype, Arena<S>& arena, Queue<S> queue)
    : exp_avg(ownership, dtype, arena), exp_avg_sq(ownership, dtype, arena) {
  clear(queue);
}

template <Space S>
void Moments<S>::clear(Queue<S> queue) {
  for (const auto& moment : {exp_avg, exp_avg_sq}) {
    if (moment.dtype() == Dtype::float32) {
      kernels::fill(moment.template flat<float>(), 0.0f, queue);
    } else {
      kernels::fill(moment.template flat<bf16>(), bf16(0.0f), queue);
    }
  }
}

bool StepResult::is_finite() const {
  return std::isfinite(gradient_norm);
}

StepResult QueuedStep::result() const {
  return {gradient_scale * std::sqrt(squares(0))};
}

template <Platform P>
Adam<P>::Adam(const models::Ownership& ownership, const AdamSettings& settings,
              parallel::Exchange<kSpace>& exchange, Arena<kSpace>& arena, Queue<kSpace> queue)
    : settings_(settings),
      exchange_(&exchange),
      ownership_(&ownership),
      runs_(runs_of(ownership)),
      sum_gradients_(ownership, exchange, arena),
      gather_weights_(ownership, exchange),
      moments_(ownership, settings.moments, arena, queue),
      squares_(arena.template make<double>(1)),
      scale_(arena.template make<float>(1)) {}

template <Platform P>
auto Adam<P>::runs_of(const models::Ownership& ownership) -> std::vector<Run> {
  const models::ShardLayout& layout = ownership.layout();
  std::vector<Run> runs;
  for (std::size_t index = 0; index < layout.count(); ++index) {
    const auto& row = layout.row(index);
    if (row.size == 0) continue;  // of another pipeline stage
    const bool decays = layout.table()[index].decay == models::Decay::yes;
    for (const auto& [owned, place] : ownership.owned({row.offset, row.offset + row.size})) {
      // With the run before it, if what lies between them in one buffer lies between them in the other.
      const bool joins = !runs.empty() && runs.back().decays == decays &&
                         owned.begin - runs.back().elements.begin == *place - runs.back().place;
      if (!joins) runs.push_back({{owned.begin, owned.begin}, *place, decays});
      runs.back().elements.end = owned.end;
    }
  }
  return runs;
}

template <Platform P>
template <class M>
void Adam<P>::move(const Run& run, const StepValues& values, const models::WeightState<W, kSpace>& weights,
                   const models::Shards<G, kSpace>& gradients, Queue<kSpace> queue) {
  const auto part = [&](auto flat) { return flat.slice(run.elements.begin, run.elements.size()); };
  const auto owned = [&](auto values) { return values.slice(run.place, run.elements.size()); };
  kernels::AdamW<W, G, M, kSpace> op{.w = part(weights.weights.flat()),
                                     .g = part(gradients.flat()),
                                     .m = owned(moments_.exp_avg.template flat<M>()),
                                     .v = owned(moments_.exp_avg_sq.template flat<M>()),
                                     .gradient_scale = scale_,
                                     .lr = values.lr,
                                     .beta1 = settings_.beta1,
                                     .beta2 = settings_.beta2,
                                     .epsilon = settings_.epsilon,
                                     .weight_decay = run.decays ? settings_.weight_decay : 0,
                                     .step = values.iteration + 1};
  if (weights.master) op.master = owned(weights.master->flat());
  if (weights.remainder) op.remainder = owned(weights.remainder->flat());
  kernels::adamw(op, queue);
}

template <Platform P>
void Adam<P>::move_as_stored(const Run& run, const StepValues& values,
                             const models::WeightState<W, kSpace>& weights,
                             const models::Shards<G, kSpace>& gradients, Queue<kSpace> queue) {
  if constexpr (!std::is_same_v<W, float>) {
    if (moments_.exp_avg.dtype() == Dtype::bfloat16)
      return move<bf16>(run, values, weights, gradients, queue);
  }
  move<float>(run, values, weights, gradients, queue);
}

template <Platform P>
QueuedStep Adam<P>::step(const StepValues& values, const models::WeightState<W, kSpace>& weights,
                         const models::Shards<G, kSpace>& gradients, Staging<kSpace>& staging,
                         Queue<kSpace> queue) {
  mark(Part::optimizer, Pass::update, queue);
  wait_for_all_weights(queue);
  sum_gradients_.finish(gradients, queue);
  const View<double, 1, Space::host> zero = staging.template make<double>(1);
  zero(0) = 0;
  upload<double, kSpace>(zero, squares_, queue);
  add_squares(GradientSquares<G, kSpace>{*ownership_, gradients, squares_}, *exchange_, queue);
  kernels::clip_scale(kernels::ClipScale<kSpace>{.sum_of_squares = squares_,
                                                 .gradient_scale = values.gradient_scale,
                                                 .clip_norm = settings_.clip_norm,
                                                 .scale = scale_},
                      queue);
  for (const Run& run : runs_) {
    move_as_stored(run, values, weights, gradients, queue);
    gather_weights_.start(weights.weights, run.elements.end, queue);
  }
  gather_weights_.start_rest(weights.weights, queue);
  const View<double, 1, Space::host> squares = staging.template make<double>(1);
  download<double, kSpace>(squares_, squares, queue);
  return {squares, values.gradient_scale};
}

#define INSTANTIATE_SPACE(S) template struct Moments<S>;
MOEBIUS_EACH_SPACE(INSTANTIATE_SPACE)
#define INSTANTIATE(P) template class Adam<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::optimizer
