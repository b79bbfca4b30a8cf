#include "layers/distributed_experts.h"

#include "kernels/update/elementwise.h"

namespace moebius::layers {
namespace {

template <class T, Space S>
View<T, 2, S> part(View<T, 2, S> tokens, const Range& range) {
  return tokens.slice(range.begin, range.size());
}

}  // namespace

template <Platform P>
Experts<P> DistributedExperts<P>::here(const Context<P>& context) const {
  const std::int64_t experts = divide_exactly(all_experts, context.degree(Axis::expert));
  return {.name = name,
          .all_experts = all_experts,
          .first = experts * context.exchange.mesh().index(Axis::expert),
          .weights = weights,
          .adapter_scale = adapter_scale};
}

template <Platform P>
std::vector<Range> DistributedExperts<P>::batches(std::int64_t tokens, std::int64_t valid,
                                                  const Context<P>& context) const {
  if (overlap == Overlap::none || context.degree(Axis::expert) == 1) return {{0, tokens}};
  const std::int64_t half = divide_up(valid, std::int64_t{2});
  return {{0, half}, {half, tokens}};
}

template <Platform P>
void DistributedExperts<P>::plan(const Routed& routed, const std::vector<Range>& batches, Saved& saved,
                                 Context<P>& context) const {
  saved.clear();
  for (const Range& tokens : batches) saved.push_back({.tokens = tokens, .dispatch = {}, .experts = {}});
  if (all_here(context)) {
    return here(context).plan(
        {.ids = routed.ids, .weights = routed.weights, .rows = routed.rows, .numbers = routed.numbers},
        saved.front().experts, context);
  }
  std::vector<parallel::RoutedTokens<kSpace>> tokens;
  for (const Batch& batch : saved) {
    tokens.push_back({.ids = part(routed.ids, batch.tokens),
                      .counts = routed.counts.slice(std::int64_t(tokens.size()), 1).flat()});
  }
  auto dispatches = parallel::plan_dispatch(
      context.exchange,
      parallel::PlanDispatch<kSpace>{
          .name = name, .tokens = tokens, .kept = context.activations, .staging = context.staging},
      context.queue);
  for (std::size_t b = 0; b < saved.size(); ++b) {
    saved[b].dispatch = std::move(dispatches[b]);
    send_routes(routed, saved[b], context);
  }
}

/// Ids and weights travel as rows do, once a forward.
template <Platform P>
void DistributedExperts<P>::send_routes(const Routed& routed, Batch& batch, Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  const std::array<std::int64_t, 2> shape{batch.dispatch.tokens_here(), routed.ids.shape[1]};
  const View<float, 2, kSpace> token_weights = context.activations.template make<float>(shape);
  const bool drops = routed.numbers.data != nullptr;
  Arena<kSpace>& memory = drops ? context.activations : context.workspace;
  const View<std::int32_t, 2, kSpace> ids = memory.template make<std::int32_t>(shape);
  View<std::int32_t, 2, kSpace> numbers;
  if (batch.dispatch.blocks > 1) kernels::fill<std::int32_t>(ids.flat(), -1, context.queue);  // of padding
  parallel::dispatch_rows<std::int32_t>(
      context.exchange,
      {.name = name, .dispatch = batch.dispatch, .from = part(routed.ids, batch.tokens), .to = ids},
      context.workspace, context.queue);
  parallel::dispatch_rows<float>(context.exchange,
                                 {.name = name,
                                  .dispatch = batch.dispatch,
                                  .from = part(routed.weights, batch.tokens),
                                  .to = token_weights},
                                 context.workspace, context.queue);
  if (drops) {
    numbers = context.activations.template make<std::int32_t>(shape[0], 2);
    parallel::dispatch_rows<std::int32_t>(
        context.exchange,
        {.name = name, .dispatch = batch.dispatch, .from = part(routed.numbers, batch.tokens), .to = numbers},
        context.workspace, context.queue);
  }
  here(context).plan(
      {.ids = ids, .weights = token_weights, .rows = batch.dispatch.assignments, .numbers = numbers},
      batch.experts, context);
}

template <Platform P>
void DistributedExperts<P>::remake(View<const T, 2, kSpace> x, Saved& saved, Context<P>& context) const {
  if (saved.size() > 1) {
    const ArenaScope scope(context.workspace);
    std::vector<Arriving> arriving = start(x, saved, context);
    for (std::size_t b = 0; b < saved.size(); ++b) remake_batch(arriving[b], saved[b], context);
    return;
  }
  Batch& batch = saved.front();
  here(context).make_rows(batch.experts, context);
  to_rows(x, batch.experts.rows, batch, context);
  here(context).activate(batch.experts, context);
}

template <Platform P>
void DistributedExperts<P>::forward(View<const T, 2, kSpace> x, View<T, 2, kSpace> y, Saved& saved,
                                    Context<P>& context) const {
  if (saved.size() > 1) return forward_batches(x, y, saved, context);
  remake(x, saved, context);
  const ArenaScope scope(context.workspace);
  Batch& batch = saved.front();
  const View<T, 2, kSpace> out = context.workspace.template make<T>(batch.experts.rows.shape);
  here(context).forward(batch.experts, out, context);
  to_tokens(out, y, batch, context);
}

template <Platform P>
void DistributedExperts<P>::backward(const BlockGradient<P>& gradient, View<float, 2, kSpace> dweights,
                                     const Saved& saved, const Gradients& gradients,
                                     Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  if (saved.size() > 1) return backward_batches(gradient, dweights, saved, gradients, context);
  const Batch& batch = saved.front();
  const auto rows = Experts<P>::make_row_gradients(batch.experts, context);
  const View<float, 2, kSpace> dweights_here =
      all_here(context) ? dweights : context.workspace.template make<float>(batch.experts.weights.shape);
  to_rows(gradient.ddelta, rows.dy, batch, context);
  // What is not here adds nothing to what others found.
  if (!all_here(context)) kernels::fill<float>(dweights_here.flat(), 0, context.queue);
  here(context).backward(rows, dweights_here, batch.experts, gradients, context);
  to_tokens(rows.dx, gradient.dnormed, batch, context);
  if (all_here(context)) return;
  parallel::combine_rows<float>(
      context.exchange, {.name = name, .dispatch = batch.dispatch, .from = dweights_here, .to = dweights},
      context.workspace, context.queue);
}

/// This rank's tokens to the rows of the experts, wherever these are.
template <Platform P>
void DistributedExperts<P>::to_rows(View<const T, 2, kSpace> tokens, View<T, 2, kSpace> rows,
                                    const Batch& batch, Context<P>& context) const {
  mark(Part::router, context.queue);
  if (all_here(context)) return Experts<P>::spread(tokens, rows, batch.experts, context);
  const ArenaScope scope(context.workspace);
  const View<T, 2, kSpace> arrived =
      context.workspace.template make<T>(batch.dispatch.tokens_here(), tokens.shape[1]);
  parallel::dispatch_rows<T>(context.exchange,
                             {.name = name, .dispatch = batch.dispatch, .from = tokens, .to = arrived},
                             context.workspace, context.queue);
  Experts<P>::spread(arrived, rows, batch.experts, context);
}

/// The adjoint of to_rows: sums by token.
template <Platform P>
void DistributedExperts<P>::to_tokens(View<const T, 2, kSpace> rows, View<T, 2, kSpace> tokens,
                                      const Batch& batch, Context<P>& context) const {
  mark(Part::router, context.queue);
  if (all_here(context)) return Experts<P>::sum(rows, tokens, batch.experts, context);
  const ArenaScope scope(context.workspace);
  const View<T, 2, kSpace> sums =
      context.workspace.template make<T>(batch.dispatch.tokens_here(), tokens.shape[1]);
  Experts<P>::sum(rows, sums, batch.experts, context);
  parallel::combine_rows<T>(context.exchange,
                            {.name = name, .dispatch = batch.dispatch, .from = sums, .to = tokens},
                            context.workspace, context.queue);
}

/// All batches on their way.
template <Platform P>
auto DistributedExperts<P>::start(View<const T, 2, kSpace> tokens, const Saved& saved,
                                  Context<P>& context) const -> std::vector<Arriving> {
  mark(Part::router, context.queue);
  std::vector<Arriving> all;
  all.reserve(saved.size());
  for (const Batch& batch : saved) {
    const View<T, 2, kSpace> arrived =
        context.workspace.template make<T>(batch.dispatch.tokens_here(), tokens.shape[1]);
    const parallel::MoveRows<T, kSpace> move{
        .name = name, .dispatch = batch.dispatch, .from = part(tokens, batch.tokens), .to = arrived};
    all.push_back({arrived, {context.exchange, move, context.workspace, context.queue}});
  }
  return all;
}

template <Platform P>
void DistributedExperts<P>::remake_batch(Arriving& arriving, Batch& batch, Context<P>& context) const {
  mark(Part::router, context.queue);
  here(context).make_rows(batch.experts, context);
  arriving.dispatch.finish(context.queue);
  Experts<P>::spread(arriving.tokens, batch.experts.rows, batch.experts, context);
  here(context).activate(batch.experts, context);
}

/// Rows, summed by token, on their way to this rank's tokens.
template <Platform P>
auto DistributedExperts<P>::start_back(View<const T, 2, kSpace> rows, View<T, 2, kSpace> tokens,
                                       const Batch& batch, Context<P>& context) const
    -> parallel::StartedCombine<T, kSpace> {
  mark(Part::router, context.queue);
  const View<T, 2, kSpace> sums =
      context.workspace.template make<T>(batch.dispatch.tokens_here(), tokens.shape[1]);
  Experts<P>::sum(rows, sums, batch.experts, context);
  return {context.exchange,
          {.name = name, .dispatch = batch.dispatch, .from = sums, .to = part(tokens, batch.tokens)},
          context.workspace,
          context.queue};
}

template <Platform P>
void DistributedExperts<P>::forward_batches(View<const T, 2, kSpace> x, View<T, 2, kSpace> y, Saved& saved,
                                            Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  std::vector<Arriving> arriving = start(x, saved, context);
  std::vector<parallel::StartedCombine<T, kSpace>> back;
  back.reserve(saved.size());
  for (std::size_t b = 0; b < saved.size(); ++b) {
    remake_batch(arriving[b], saved[b], context);
    const View<T, 2, kSpace> out = context.workspace.template make<T>(saved[b].experts.rows.shape);
    here(context).forward(saved[b].experts, out, context);
    back.push_back(start_back(out, y, saved[b], context));
  }
  for (auto& sums : back) sums.finish(context.queue);
}

template <Platform P>
void DistributedExperts<P>::backward_batches(const BlockGradient<P>& gradient,
                                             View<float, 2, kSpace> dweights, const Saved& saved,
                                             const Gradients& gradients, Context<P>& context) const {
  std::vector<Arriving> arriving = start(gradient.ddelta, saved, context);
  std::vector<parallel::StartedCombine<T, kSpace>> back;
  std::vector<parallel::StartedCombine<float, kSpace>> weights_back;
  back.reserve(saved.size()), weights_back.reserve(saved.size());
  Context<P> adding = context;
  for (std::size_t b = 0; b < saved.size(); ++b) {
    const Batch& batch = saved[b];
    const auto rows = Experts<P>::make_row_gradients(batch.experts, context);
    const View<float, 2, kSpace> dweights_here =
        context.workspace.template make<float>(batch.experts.weights.shape);
    mark(Part::router, context.queue);
    kernels::fill<float>(dweights_here.flat(), 0, context.queue);
    arriving[b].dispatch.finish(context.queue);
    Experts<P>::spread(arriving[b].tokens, rows.dy, batch.experts, context);
    here(context).backward(rows, dweights_here, batch.experts, gradients, adding);
    adding.into = kernels::Into::add;
    back.push_back(start_back(rows.dx, gradient.dnormed, batch, context));
    weights_back.push_back({context.exchange,
                            {.name = name,
                             .dispatch = batch.dispatch,
                             .from = dweights_here,
                             .to = part(dweights, batch.tokens)},
                            context.workspace,
                            context.queue});
  }
  for (std::size_t b = 0; b < saved.size(); ++b) {
    back[b].finish(context.queue);
    weights_back[b].finish(context.queue);
  }
}

#define INSTANTIATE(P) template struct DistributedExperts<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::layers
