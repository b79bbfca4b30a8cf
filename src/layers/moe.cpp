#include "layers/moe.h"

#include <algorithm>

#include "base/math.h"
#include "kernels/update/elementwise.h"
#include "layers/linear.h"

namespace moebius::layers {
namespace {

/// Whether all experts are here, whole.
template <Platform P>
bool all_here(const Context<P>& context) {
  return context.degree(Axis::expert) * context.degree(Axis::expert_tensor) == 1;
}

}  // namespace

template <Platform P>
Experts<P> Moe<P>::experts(const Context<P>& context) const {
  const std::int64_t here = divide_exactly(all_experts(), context.degree(Axis::expert));
  return {.first = here * context.exchange.mesh().index(Axis::expert), .weights = weights.experts};
}

/// Fills in the router's part of `saved`.
template <Platform P>
auto Moe<P>::route(Saved& saved, Context<P>& context) const -> Routed {
  mark(Part::router, context.queue);
  const std::int64_t tokens = saved.normed.shape[0], experts = all_experts();
  const std::int64_t first = tokens * context.exchange.mesh().index(Axis::tensor);
  saved.valid = std::clamp<std::int64_t>(saved.real_tokens.here - first, 0, tokens);
  saved.probabilities = context.activations.template make<float>(tokens, experts);
  saved.log_sum_exp = context.activations.template make<float>(tokens);
  saved.ids = context.activations.template make<std::int32_t>(tokens, top_k);
  Arena<kSpace>& memory = all_here(context) ? context.activations : context.workspace;
  const Routed routed{.weights = memory.template make<float>(tokens, top_k),
                      .counts = context.workspace.template make<std::int32_t>(experts)};
  linear<T, float, kSpace>(saved.normed, weights.router, saved.probabilities, context.queue);
  kernels::router_forward(
      kernels::RouterForward<kSpace>{.logits = saved.probabilities,
                                     .probabilities = saved.probabilities,
                                     .log_sum_exp = saved.log_sum_exp,
                                     .ids = saved.ids,
                                     .weights = routed.weights,
                                     .counts = routed.counts,
                                     .probability_sums = saved.statistics.slice(experts, experts),
                                     .square_sum = saved.statistics.slice(2 * experts, 1),
                                     .valid_tokens = saved.valid,
                                     .token_offset = first,
                                     .weight_sum = weight_sum,
                                     .routing = routing},
      context.queue);
  kernels::cast(
      kernels::Cast<std::int32_t, float, kSpace>{.x = routed.counts, .y = saved.statistics.slice(0, experts)},
      context.queue);
  context.exchange.all_reduce({Axis::tensor_context, name}, saved.statistics, parallel::Reduction::sum,
                              context.queue);
  return routed;
}

/// Which token goes where, and with what weight: everything of `saved` that moving rows needs.
template <Platform P>
void Moe<P>::plan(const Routed& routed, Saved& saved, Context<P>& context) const {
  if (!all_here(context)) return dispatch_plan(routed, saved, context);
  experts(context).plan({.ids = saved.ids, .weights = routed.weights, .rows = saved.valid * top_k},
                        saved.experts, context);
}

/// Ids and weights travel as rows do, once a forward.
template <Platform P>
void Moe<P>::dispatch_plan(const Routed& routed, Saved& saved, Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  saved.dispatch = parallel::plan_dispatch(context.exchange,
                                           parallel::PlanDispatch<kSpace>{.name = name,
                                                                          .ids = saved.ids,
                                                                          .counts = routed.counts,
                                                                          .kept = context.activations,
                                                                          .staging = context.staging},
                                           context.queue);
  const std::int64_t tokens = saved.dispatch.tokens_here();
  const View<float, 2, kSpace> token_weights = context.activations.template make<float>(tokens, top_k);
  const View<std::int32_t, 2, kSpace> ids = context.workspace.template make<std::int32_t>(tokens, top_k);
  if (saved.dispatch.blocks > 1) kernels::fill<std::int32_t>(ids.flat(), -1, context.queue);  // of padding
  parallel::dispatch_rows<std::int32_t>(
      context.exchange, {.name = name, .dispatch = saved.dispatch, .from = saved.ids, .to = ids},
      context.workspace, context.queue);
  parallel::dispatch_rows<float>(
      context.exchange,
      {.name = name, .dispatch = saved.dispatch, .from = routed.weights, .to = token_weights},
      context.workspace, context.queue);
  experts(context).plan({.ids = ids, .weights = token_weights, .rows = saved.dispatch.assignments},
                        saved.experts, context);
}

/// This rank's tokens, [tokens / tensor, hidden], to the rows of the experts, wherever these are.
template <Platform P>
void Moe<P>::to_rows(View<const T, 2, kSpace> tokens, View<T, 2, kSpace> rows, const Saved& saved,
                     Context<P>& context) const {
  mark(Part::router, context.queue);
  if (all_here(context)) return Experts<P>::spread(tokens, rows, saved.experts, context);
  const ArenaScope scope(context.workspace);
  const View<T, 2, kSpace> here =
      context.workspace.template make<T>(saved.dispatch.tokens_here(), tokens.shape[1]);
  parallel::dispatch_rows<T>(context.exchange,
                             {.name = name, .dispatch = saved.dispatch, .from = tokens, .to = here},
                             context.workspace, context.queue);
  Experts<P>::spread(here, rows, saved.experts, context);
}

/// The adjoint of to_rows: sums by token.
template <Platform P>
void Moe<P>::to_tokens(View<const T, 2, kSpace> rows, View<T, 2, kSpace> tokens, const Saved& saved,
                       Context<P>& context) const {
  mark(Part::router, context.queue);
  if (all_here(context)) return Experts<P>::sum(rows, tokens, saved.experts, context);
  const ArenaScope scope(context.workspace);
  const View<T, 2, kSpace> here =
      context.workspace.template make<T>(saved.dispatch.tokens_here(), tokens.shape[1]);
  Experts<P>::sum(rows, here, saved.experts, context);
  parallel::combine_rows<T>(context.exchange,
                            {.name = name, .dispatch = saved.dispatch, .from = here, .to = tokens},
                            context.workspace, context.queue);
}

template <Platform P>
void Moe<P>::remake(Saved& saved, Context<P>& context) const {
  const Experts<P> own = experts(context);
  own.make_rows(saved.experts, context);
  to_rows(saved.normed, saved.experts.rows, saved, context);
  own.activate(saved.experts, context);
}

template <Platform P>
void Moe<P>::forward(View<const T, 2, kSpace> normed, const RealTokens& real_tokens, View<T, 2, kSpace> delta,
                     Saved& saved, Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  saved.normed = normed;
  saved.real_tokens = real_tokens;
  plan(route(saved, context), saved, context);
  remake(saved, context);
  const View<T, 2, kSpace> out = context.workspace.template make<T>(saved.experts.rows.shape);
  experts(context).forward(saved.experts, out, context);
  to_tokens(out, delta, saved, context);
}

/// The gradient in the router's logits, [tokens / tensor, all experts], in the workspace.
template <Platform P>
auto Moe<P>::backward_router(View<const float, 2, kSpace> dweights, AuxCoefficients coefficients,
                             const Saved& saved, Context<P>& context) const -> View<const T, 2, kSpace> {
  const std::int64_t experts = all_experts();
  const double tokens = double(std::max<std::int64_t>(saved.real_tokens.of_micro_batch, 1));
  const double share =
      double(experts) / (tokens * tokens * double(top_k));  // E f_e / T is counts[e] times it
  const View<float, 1, kSpace> aux_gradient = context.workspace.template make<float>(experts);
  kernels::fill<float>(aux_gradient, 0, context.queue);
  kernels::add(kernels::Add<float, kSpace>{.a = aux_gradient,
                                           .b = saved.statistics.slice(0, experts),
                                           .y = aux_gradient,
                                           .factor = float(coefficients.aux * share)},
               context.queue);
  const View<T, 2, kSpace> dlogits = context.workspace.template make<T>(saved.probabilities.shape);
  kernels::router_backward(kernels::RouterBackward<T, kSpace>{.dweights = dweights,
                                                              .probabilities = saved.probabilities,
                                                              .log_sum_exp = saved.log_sum_exp,
                                                              .ids = saved.ids,
                                                              .aux_gradient = aux_gradient,
                                                              .z_coefficient = float(coefficients.z / tokens),
                                                              .dlogits = dlogits,
                                                              .valid_tokens = saved.valid,
                                                              .weight_sum = weight_sum},
                           context.queue);
  return dlogits;
}

template <Platform P>
void Moe<P>::backward(const BlockGradient<P>& gradient, AuxCoefficients coefficients, const Saved& saved,
                      const Gradients& gradients, Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  Arena<kSpace>& workspace = context.workspace;
  const View<T, 2, kSpace> drows = workspace.template make<T>(saved.experts.rows.shape);
  View<float, 2, kSpace> dweights = workspace.template make<float>(saved.experts.weights.shape);
  to_rows(gradient.ddelta, drows, saved, context);
  // What is not here adds nothing to what others found.
  if (!all_here(context)) kernels::fill<float>(dweights.flat(), 0, context.queue);
  experts(context).backward(drows, dweights, saved.experts, gradients.experts, context);
  to_tokens(drows, gradient.dnormed, saved, context);
  if (!all_here(context)) {
    const View<float, 2, kSpace> by_token = workspace.template make<float>(saved.ids.shape);
    parallel::combine_rows<float>(
        context.exchange, {.name = name, .dispatch = saved.dispatch, .from = dweights, .to = by_token},
        workspace, context.queue);
    dweights = by_token;
  }
  const View<const T, 2, kSpace> dlogits = backward_router(dweights, coefficients, saved, context);
  linear_weight_gradient<T, G, kSpace>(dlogits, saved.normed, gradients.router, context.into, context.queue);
  linear_input_gradient<T, kSpace>(dlogits, weights.router, gradient.dnormed, Into::add, context.queue);
}

RouterReport report(View<const float, 1, Space::host> statistics, std::int64_t real_tokens,
                    std::int64_t top_k) {
  const std::int64_t experts = (statistics.size() - 1) / 2;
  RouterReport report;
  report.expert_tokens.assign(statistics.data, statistics.data + experts);
  if (real_tokens == 0) return report;
  const double tokens = double(real_tokens);
  for (std::int64_t e = 0; e < experts; ++e)
    report.aux += double(statistics(e)) * double(statistics(experts + e));
  report.aux *= double(experts) / (tokens * tokens * double(top_k));
  report.z = double(statistics(2 * experts)) / tokens;
  return report;
}

#define INSTANTIATE(P) template struct Moe<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::layers
