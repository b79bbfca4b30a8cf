#include "layers/moe.h"

#include <algorithm>

#include "kernels/update/elementwise.h"
#include "layers/linear.h"

namespace moebius::layers {

namespace {

/// The router on some of its tokens.
template <Space S>
kernels::RouterForward<S> of_tokens(kernels::RouterForward<S> op, const Range& tokens) {
  op.logits = op.logits.slice(tokens.begin, tokens.size());
  op.probabilities = op.probabilities.slice(tokens.begin, tokens.size());
  op.log_sum_exp = op.log_sum_exp.slice(tokens.begin, tokens.size());
  op.ids = op.ids.slice(tokens.begin, tokens.size());
  op.weights = op.weights.slice(tokens.begin, tokens.size());
  op.valid_tokens = std::clamp<std::int64_t>(op.valid_tokens - tokens.begin, 0, tokens.size());
  op.positions = op.positions.slice(tokens.begin, tokens.size());
  return op;
}

}  // namespace

/// Fills in the router's part of `saved`; positions [tokens / tensor]; counts are of each batch, statistics
/// the sum of theirs.
template <Platform P>
auto Moe<P>::route(View<const std::int32_t, 1, kSpace> positions, const std::vector<Range>& batches,
                   Saved& saved, Context<P>& context) const -> Routed {
  mark(Part::router, context.queue);
  const std::int64_t tokens = saved.normed.shape[0], experts = all_experts();
  const auto count = std::int64_t(batches.size());
  Arena<kSpace>& memory = DistributedExperts<P>::all_here(context) ? context.activations : context.workspace;
  saved.probabilities = context.activations.template make<float>(tokens, experts);
  saved.log_sum_exp = context.activations.template make<float>(tokens);
  saved.ids = context.activations.template make<std::int32_t>(tokens, top_k);
  const kernels::RouterForward<kSpace> whole{.logits = saved.probabilities,
                                             .probabilities = saved.probabilities,
                                             .log_sum_exp = saved.log_sum_exp,
                                             .ids = saved.ids,
                                             .weights = memory.template make<float>(tokens, top_k),
                                             .valid_tokens = saved.valid,
                                             .positions = positions,
                                             .weight_sum = weight_sum,
                                             .routing = routing};
  const View<std::int32_t, 2, kSpace> counts = context.workspace.template make<std::int32_t>(count, experts);
  const View<float, 2, kSpace> sums =
      context.workspace.template make<float>(count - 1, statistics_size(experts));
  linear<T, float, kSpace>(saved.normed, weights.router, saved.probabilities, context.queue);
  saved.projected = router_adapter(saved, context)
                        .forward(Matrix<const T, kSpace>(saved.normed),
                                 Matrix<float, kSpace>(saved.probabilities), context.activations, context);
  for (std::int64_t b = 0; b < count; ++b) {
    const View<float, 1, kSpace> statistics = b == 0 ? saved.statistics : sums.slice(b - 1, 1).flat();
    kernels::RouterForward<kSpace> op = of_tokens(whole, batches[std::size_t(b)]);
    op.counts = counts.slice(b, 1).flat();
    op.probability_sums = statistics.slice(experts, experts);
    op.square_sum = statistics.slice(2 * experts, 1);
    kernels::router_forward(op, context.queue);
    kernels::cast(
        kernels::Cast<std::int32_t, float, kSpace>{.x = op.counts, .y = statistics.slice(0, experts)},
        context.queue);
    if (b == 0) continue;
    kernels::add(kernels::Add<float, kSpace>{.a = saved.statistics, .b = statistics, .y = saved.statistics},
                 context.queue);
  }
  context.exchange.all_reduce({Axis::tensor_context, name}, saved.statistics, parallel::Reduction::sum,
                              context.queue);
  Routed routed{.ids = saved.ids, .weights = whole.weights, .counts = counts, .rows = saved.valid * top_k};
  if (context.dropout.probability > 0) {
    const Range own = own_tokens(saved, context);
    routed.numbers = context.dropout.numbers.slice(own.begin, own.size());
  }
  return routed;
}

template <Platform P>
void Moe<P>::remake(Saved& saved, Context<P>& context) const {
  experts().remake(saved.normed, saved.experts, context);
}

template <Platform P>
void Moe<P>::forward(const Input& input, View<T, 2, kSpace> delta, Saved& saved, Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  const std::int64_t tokens = input.normed.shape[0],
                     first = tokens * context.exchange.mesh().index(Axis::tensor);
  saved.normed = input.normed;
  saved.real_tokens = input.real_tokens;
  saved.valid = std::clamp<std::int64_t>(input.real_tokens.here - first, 0, tokens);
  const std::vector<Range> batches = experts().batches(tokens, saved.valid, context);
  experts().plan(route(input.positions.slice(first, tokens), batches, saved, context), batches, saved.experts,
                 context);
  experts().forward(saved.normed, delta, saved.experts, context);
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
  const View<float, 2, kSpace> dweights = context.workspace.template make<float>(saved.ids.shape);
  experts().backward(gradient, dweights, saved.experts, gradients.experts, context);
  mark(Part::router, context.queue);
  const View<const T, 2, kSpace> dlogits = backward_router(dweights, coefficients, saved, context);
  if (!gradients.router.empty())
    linear_weight_gradient<T, G, kSpace>(dlogits, saved.normed, gradients.router, context.into,
                                         context.queue);
  linear_input_gradient<T, kSpace>(dlogits, weights.router, gradient.dnormed, Into::add, context.queue);
  Context<P> now = context;  // dlogits are gone when this returns
  now.later = nullptr;
  router_adapter(saved, context)
      .backward({.dy = dlogits, .x = saved.normed, .projected = saved.projected, .dx = gradient.dnormed},
                gradients.router_adapter, now);
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
