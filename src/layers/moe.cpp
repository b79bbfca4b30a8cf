#include "layers/moe.h"

#include <algorithm>

#include "kernels/dense/swiglu.h"
#include "kernels/moe/grouped_gemm.h"
#include "kernels/moe/permute.h"
#include "kernels/update/elementwise.h"
#include "layers/linear.h"

namespace moebius::layers {
namespace {

template <class T, Space S>
View<T, 2, S> as_column(View<T, 1, S> values) {
  return {values.data, {values.shape[0], 1}};
}

}  // namespace

/// Fills in the router's part of `saved`, and the routing weights by token.
template <Platform P>
void Moe<P>::route(Saved& saved, Context<P>& context) const {
  mark(Part::router, context.queue);
  const std::int64_t tokens = saved.normed.shape[0], experts = all_experts();
  const std::int64_t first = tokens * context.exchange.mesh().index(Axis::tensor);
  saved.valid = std::clamp<std::int64_t>(saved.real_tokens - first, 0, tokens);
  saved.probabilities = context.activations.template make<float>(tokens, experts);
  saved.log_sum_exp = context.activations.template make<float>(tokens);
  saved.ids = context.activations.template make<std::int32_t>(tokens, top_k);
  const bool stays = context.degree(Axis::expert) == 1;
  const View<float, 2, kSpace> token_weights =
      (stays ? context.activations : context.workspace).template make<float>(tokens, top_k);
  saved.weights = token_weights.flat();
  const View<std::int32_t, 1, kSpace> counts = context.workspace.template make<std::int32_t>(experts);
  linear<T, float, kSpace>(saved.normed, weights.router, saved.probabilities, context.queue);
  kernels::router_forward(
      kernels::RouterForward<kSpace>{.logits = saved.probabilities,
                                     .probabilities = saved.probabilities,
                                     .log_sum_exp = saved.log_sum_exp,
                                     .ids = saved.ids,
                                     .weights = token_weights,
                                     .counts = counts,
                                     .probability_sums = saved.statistics.slice(experts, experts),
                                     .square_sum = saved.statistics.slice(2 * experts, 1),
                                     .valid_tokens = saved.valid,
                                     .token_offset = first,
                                     .weight_sum = weight_sum,
                                     .routing = routing},
      context.queue);
  kernels::cast(
      kernels::Cast<std::int32_t, float, kSpace>{.x = counts, .y = saved.statistics.slice(0, experts)},
      context.queue);
  context.exchange.all_reduce({Axis::tensor_context, name}, saved.statistics, parallel::Reduction::sum,
                              context.queue);
}

/// Which row goes where, and with what weight: everything of `saved` that moving rows needs.
template <Platform P>
void Moe<P>::plan(Saved& saved, Context<P>& context) const {
  const std::int64_t tokens = saved.normed.shape[0];
  Arena<kSpace>& kept = context.activations;
  const View<std::int32_t, 1, kSpace> starts = kept.template make<std::int32_t>(all_experts() + 1);
  saved.positions = kept.template make<std::int32_t>(tokens, top_k);
  const View<std::int32_t, 1, kSpace> assignments = kept.template make<std::int32_t>(tokens * top_k);
  kernels::permute_plan(
      kernels::PermutePlan<kSpace>{.ids = saved.ids,
                                   .starts = starts,
                                   .positions = saved.positions,
                                   .sources = context.workspace.template make<std::int32_t>(tokens * top_k),
                                   .assignments = assignments},
      context.queue);
  saved.starts = starts;
  saved.weight_of = assignments.slice(0, saved.valid * top_k);
  if (context.degree(Axis::expert) == 1) return;
  saved.dispatch =
      parallel::plan_dispatch(context.exchange,
                              parallel::PlanDispatch<kSpace>{
                                  .name = name, .starts = starts, .kept = kept, .staging = context.staging},
                              context.queue);
  saved.starts = saved.dispatch.starts;
  send_weights(saved, context);
}

/// The weights of the rows go with them. What arrives stays in its order: an entry of the weights is found by
/// its number.
template <Platform P>
void Moe<P>::send_weights(Saved& saved, Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  const View<float, 1, kSpace> leaving = context.workspace.template make<float>(saved.dispatch.sent());
  const View<float, 1, kSpace> arriving = context.activations.template make<float>(saved.dispatch.received());
  kernels::gather_rows(
      kernels::GatherRows<float, kSpace>{
          .x = as_column(saved.weights), .index = saved.weight_of, .y = as_column(leaving)},
      context.queue);
  context.exchange.template all_to_all<float>(
      {Axis::expert, name}, {as_column(leaving), saved.dispatch.sent_rows},
      {as_column(arriving), saved.dispatch.received_rows}, context.queue);
  saved.weights = arriving;
  saved.weight_of = saved.dispatch.sources;
}

/// The rows of this rank's experts from all ranks, made of one row a token of this rank.
template <class T, Platform P>
void spread_to_experts(View<const T, 2, P::kSpace> x, View<T, 2, P::kSpace> rows,
                       const typename Moe<P>::Saved& saved, std::string_view name, Context<P>& context) {
  mark(Part::router, context.queue);
  const auto spread = [&](View<T, 2, P::kSpace> y) {
    kernels::spread_rows(kernels::SpreadRows<T, P::kSpace>{.x = x, .index = saved.positions, .y = y},
                         context.queue);
  };
  if (context.degree(Axis::expert) == 1) return spread(rows);
  const ArenaScope scope(context.workspace);
  const View<T, 2, P::kSpace> leaving = context.workspace.template make<T>(saved.dispatch.sent(), x.shape[1]);
  spread(leaving);
  parallel::dispatch_rows(
      context.exchange,
      parallel::MoveRows<T, P::kSpace>{.name = name, .dispatch = saved.dispatch, .from = leaving, .to = rows},
      context.workspace, context.queue);
}

/// The inputs of this rank's experts, from all ranks.
template <Platform P>
void Moe<P>::bring_rows(Saved& saved, Context<P>& context) const {
  saved.rows = context.remade.template make<T>(saved.weight_of.shape[0], saved.normed.shape[1]);
  spread_to_experts<T, P>(saved.normed, saved.rows, saved, name, context);
}

/// What goes into the down projection.
template <Platform P>
void Moe<P>::activate(Saved& saved, Context<P>& context) const {
  mark(Part::experts, context.queue);
  const std::int64_t rows = saved.rows.shape[0];
  saved.gate_up = context.remade.template make<T>(rows, 2 * width());
  saved.active = context.remade.template make<T>(rows, width());
  kernels::grouped_gemm_forward(
      kernels::GroupedGemmForward<T, kSpace>{
          .x = saved.rows, .w = weights.gate_up, .starts = saved.starts, .y = saved.gate_up},
      context.queue);
  kernels::swiglu_forward(kernels::SwigluForward<T, kSpace>{.gate_up = saved.gate_up,
                                                            .weights = saved.weights,
                                                            .weight_of = saved.weight_of,
                                                            .y = saved.active},
                          context.queue);
}

template <Platform P>
void Moe<P>::remake(Saved& saved, Context<P>& context) const {
  bring_rows(saved, context);
  activate(saved, context);
}

/// Rows of this rank's experts back on the ranks of their tokens, in those ranks' expert order.
template <class T, Platform P>
View<T, 2, P::kSpace> bring_back(View<T, 2, P::kSpace> rows, const typename Moe<P>::Saved& saved,
                                 std::string_view name, Context<P>& context) {
  mark(Part::router, context.queue);
  if (context.degree(Axis::expert) == 1) return rows;
  const View<T, 2, P::kSpace> back = context.workspace.template make<T>(saved.dispatch.sent(), rows.shape[1]);
  parallel::combine_rows(
      context.exchange,
      parallel::MoveRows<T, P::kSpace>{.name = name, .dispatch = saved.dispatch, .from = rows, .to = back},
      context.workspace, context.queue);
  return back;
}

/// The gradients of the weights by token, [tokens / tensor, top_k]; those of padding are any.
template <Platform P>
auto Moe<P>::bring_weights_back(View<float, 1, kSpace> dweights, const Saved& saved,
                                Context<P>& context) const -> View<const float, 2, kSpace> {
  if (context.degree(Axis::expert) == 1) return {dweights.data, saved.ids.shape};
  const View<float, 1, kSpace> back = context.workspace.template make<float>(saved.dispatch.sent());
  context.exchange.template all_to_all<float>({Axis::expert, name},
                                              {as_column(dweights), saved.dispatch.received_rows},
                                              {as_column(back), saved.dispatch.sent_rows}, context.queue);
  const View<float, 2, kSpace> by_token = context.workspace.template make<float>(saved.ids.shape);
  kernels::gather_rows(
      kernels::GatherRows<float, kSpace>{
          .x = as_column(back), .index = saved.positions.flat(), .y = as_column(by_token.flat())},
      context.queue);
  return by_token;
}

template <Platform P>
void Moe<P>::forward(View<const T, 2, kSpace> normed, std::int64_t real_tokens, View<T, 2, kSpace> delta,
                     Saved& saved, Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  saved.normed = normed;
  saved.real_tokens = real_tokens;
  route(saved, context);
  plan(saved, context);
  remake(saved, context);
  const View<T, 2, kSpace> out = context.workspace.template make<T>(saved.rows.shape);
  kernels::grouped_gemm_forward(
      kernels::GroupedGemmForward<T, kSpace>{
          .x = saved.active, .w = weights.down, .starts = saved.starts, .y = out},
      context.queue);
  kernels::gather_sum(
      kernels::GatherSum<T, kSpace>{
          .x = bring_back<T, P>(out, saved, name, context), .index = saved.positions, .y = delta},
      context.queue);
}

/// dout [rows, hidden] becomes the gradient in `rows`; dweights as `weights`, overwritten.
template <Platform P>
void Moe<P>::backward_experts(View<T, 2, kSpace> dout_to_drows, View<float, 1, kSpace> dweights,
                              const Saved& saved, const Gradients& gradients, Context<P>& context) const {
  mark(Part::experts, context.queue);
  const ArenaScope scope(context.workspace);
  const View<T, 2, kSpace> dactive = context.workspace.template make<T>(saved.active.shape);
  const View<T, 2, kSpace> dgate_up = context.workspace.template make<T>(saved.gate_up.shape);
  kernels::grouped_gemm_weight_gradient(
      kernels::GroupedGemmWeightGradient<T, kSpace, G>{.dy = dout_to_drows,
                                                       .x = saved.active,
                                                       .starts = saved.starts,
                                                       .dw = gradients.down,
                                                       .into = context.into},
      context.queue);
  kernels::grouped_gemm_input_gradient(
      kernels::GroupedGemmInputGradient<T, kSpace>{
          .dy = dout_to_drows, .w = weights.down, .starts = saved.starts, .dx = dactive},
      context.queue);
  kernels::swiglu_backward(kernels::SwigluBackward<T, kSpace>{.dy = dactive,
                                                              .gate_up = saved.gate_up,
                                                              .weights = saved.weights,
                                                              .weight_of = saved.weight_of,
                                                              .dgate_up = dgate_up,
                                                              .dweights = dweights},
                           context.queue);
  kernels::grouped_gemm_weight_gradient(
      kernels::GroupedGemmWeightGradient<T, kSpace, G>{.dy = dgate_up,
                                                       .x = saved.rows,
                                                       .starts = saved.starts,
                                                       .dw = gradients.gate_up,
                                                       .into = context.into},
      context.queue);
  kernels::grouped_gemm_input_gradient(
      kernels::GroupedGemmInputGradient<T, kSpace>{
          .dy = dgate_up, .w = weights.gate_up, .starts = saved.starts, .dx = dout_to_drows},
      context.queue);
}

/// The gradient in the router's logits, [tokens / tensor, all experts], in the workspace.
template <Platform P>
auto Moe<P>::backward_router(View<const float, 2, kSpace> dweights, AuxCoefficients coefficients,
                             const Saved& saved, Context<P>& context) const -> View<const T, 2, kSpace> {
  const std::int64_t experts = all_experts();
  const double tokens = double(std::max<std::int64_t>(saved.real_tokens, 1));
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
  const View<T, 2, kSpace> drows = context.workspace.template make<T>(saved.rows.shape);
  const View<float, 1, kSpace> dweights = context.workspace.template make<float>(saved.weights.shape);
  spread_to_experts<T, P>(gradient.ddelta, drows, saved, name, context);
  backward_experts(drows, dweights, saved, gradients, context);
  kernels::gather_sum(kernels::GatherSum<T, kSpace>{.x = bring_back<T, P>(drows, saved, name, context),
                                                    .index = saved.positions,
                                                    .y = gradient.dnormed},
                      context.queue);
  const View<const float, 2, kSpace> dtoken_weights = bring_weights_back(dweights, saved, context);
  const View<const T, 2, kSpace> dlogits = backward_router(dtoken_weights, coefficients, saved, context);
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
