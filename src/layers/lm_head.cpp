#include "layers/lm_head.h"

#include <algorithm>

#include "kernels/loss/cross_entropy.h"
#include "kernels/moe/permute.h"
#include "kernels/update/elementwise.h"
#include "layers/linear.h"

namespace moebius::layers {
template <Platform P>
typename LmHead<P>::Chunk LmHead<P>::project(View<const T, 2, kSpace> whole, const Targets<kSpace>& targets,
                                             Range entries, Context<P>& context) const {
  const std::int64_t count = entries.size();
  Arena<kSpace>& workspace = context.workspace;
  const View<float, 1, kSpace> sums = workspace.template make<float>(2 * count);
  const Chunk chunk{.x = workspace.template make<T>(count, whole.shape[1]),
                    .ids = targets.ids.slice(entries.begin, count),
                    .logits = workspace.template make<T>(count, weight.shape[0]),
                    .row_max = workspace.template make<float>(count),
                    .sum_exp = sums.slice(0, count),
                    .label_logit = sums.slice(count, count)};
  kernels::gather_rows(
      kernels::GatherRows<T, kSpace>{
          .x = whole, .index = targets.rows.slice(entries.begin, count), .y = chunk.x},
      context.queue);
  linear<T, T, kSpace>(chunk.x, weight, chunk.logits, context.queue);
  return chunk;
}

template <Platform P>
void LmHead<P>::normalise(const Chunk& chunk, Context<P>& context) const {
  kernels::cross_entropy_statistics(
      kernels::CrossEntropyStatistics<T, kSpace>{.logits = chunk.logits,
                                                 .labels = chunk.ids,
                                                 .vocab_begin = vocab_begin,
                                                 .row_max = chunk.row_max,
                                                 .sum_exp = chunk.sum_exp,
                                                 .label_logit = chunk.label_logit},
      context.queue);
  if (context.degree(Axis::tensor) > 1) {
    const ArenaScope scope(context.workspace);
    const std::int64_t count = chunk.ids.shape[0];
    const View<float, 1, kSpace> local_max = context.workspace.template make<float>(count);
    kernels::copy<float>(chunk.row_max, local_max, context.queue);
    context.exchange.all_reduce({Axis::tensor, name}, chunk.row_max, parallel::Reduction::max, context.queue);
    kernels::cross_entropy_rescale(
        kernels::CrossEntropyRescale<kSpace>{
            .local_max = local_max, .row_max = chunk.row_max, .sum_exp = chunk.sum_exp},
        context.queue);
    const View<float, 1, kSpace> sums(chunk.sum_exp.data, {2 * count});  // sum_exp and label_logit
    context.exchange.all_reduce({Axis::tensor, name}, sums, parallel::Reduction::sum, context.queue);
  }
  kernels::cross_entropy_log_probability(
      kernels::CrossEntropyLogProbability<kSpace>{.labels = chunk.ids,
                                                  .row_max = chunk.row_max,
                                                  .sum_exp = chunk.sum_exp,
                                                  .label_logit = chunk.label_logit,
                                                  .log_probability = chunk.log_probability},
      context.queue);
}

/// The logits of the chunk become their gradient.
template <Platform P>
void LmHead<P>::replace_by_gradient(const Chunk& chunk, View<const float, 1, kSpace> weights,
                                    Context<P>& context) const {
  if (context.degree(Axis::tensor) == 1) {
    kernels::cross_entropy(kernels::CrossEntropy<T, kSpace>{.logits = chunk.logits,
                                                            .labels = chunk.ids,
                                                            .weights = weights,
                                                            .log_probability = chunk.log_probability},
                           context.queue);
    return;
  }
  normalise(chunk, context);
  kernels::cross_entropy_gradient(kernels::CrossEntropyGradient<T, kSpace>{.logits = chunk.logits,
                                                                           .labels = chunk.ids,
                                                                           .weights = weights,
                                                                           .vocab_begin = vocab_begin,
                                                                           .row_max = chunk.row_max,
                                                                           .sum_exp = chunk.sum_exp},
                                  context.queue);
}

template <Platform P>
void LmHead<P>::log_probabilities(View<const T, 2, kSpace> hidden, const Targets<kSpace>& targets,
                                  View<float, 1, kSpace> log_probabilities, Context<P>& context) const {
  mark(Part::head, context.queue);
  const ArenaScope scope(context.workspace);
  const View<const T, 2, kSpace> whole = gather_tokens(name, hidden, context);
  const std::int64_t step = chunk_targets(weight.shape[0], logits_bytes);
  for (std::int64_t begin = 0; begin < targets.count(); begin += step) {
    const ArenaScope chunk_scope(context.workspace);
    const Range entries{begin, std::min(begin + step, targets.count())};
    Chunk chunk = project(whole, targets, entries, context);
    chunk.log_probability = log_probabilities.slice(begin, entries.size());
    normalise(chunk, context);
  }
}

template <Platform P>
void LmHead<P>::loss(View<const T, 2, kSpace> hidden, const Targets<kSpace>& targets, const Loss& loss,
                     Context<P>& context) const {
  mark(Part::head, context.queue);
  const ArenaScope scope(context.workspace);
  const View<const T, 2, kSpace> whole = gather_tokens(name, hidden, context);
  const View<T, 2, kSpace> dx = context.workspace.template make<T>(targets.count(), whole.shape[1]);
  if (targets.count() == 0 && context.into == Into::overwrite && !loss.dweight.empty())
    kernels::fill<G>(loss.dweight.flat(), G(0), context.queue);
  const std::int64_t step = chunk_targets(weight.shape[0], logits_bytes);
  for (std::int64_t begin = 0; begin < targets.count(); begin += step) {
    const ArenaScope chunk_scope(context.workspace);
    const Range entries{begin, std::min(begin + step, targets.count())};
    Chunk chunk = project(whole, targets, entries, context);
    chunk.log_probability = loss.log_probabilities.slice(begin, entries.size());
    replace_by_gradient(chunk, loss.weights.slice(begin, entries.size()), context);
    const Into into = begin == 0 ? context.into : Into::add;
    if (!loss.dweight.empty())
      linear_weight_gradient<T, G, kSpace>(chunk.logits, chunk.x, loss.dweight, into, context.queue);
    linear_input_gradient<T, kSpace>(chunk.logits, weight, dx.slice(begin, entries.size()), Into::overwrite,
                                     context.queue);
  }
  const View<T, 2, kSpace> dwhole = partial_sums(loss.dhidden, context);
  kernels::gather_rows(kernels::GatherRows<T, kSpace>{.x = dx, .index = targets.entry_of, .y = dwhole},
                       context.queue);
  sum_to_parts<P>(name, dwhole, loss.dhidden, context);
}

template <Platform P>
void LmHead<P>::logits(View<const T, 2, kSpace> hidden, View<const std::int32_t, 1, kSpace> rows,
                       View<float, 2, kSpace> logits, Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  const View<const T, 2, kSpace> whole = gather_tokens(name, hidden, context);
  const View<T, 2, kSpace> x = context.workspace.template make<T>(rows.shape[0], whole.shape[1]);
  kernels::gather_rows(kernels::GatherRows<T, kSpace>{.x = whole, .index = rows, .y = x}, context.queue);
  if (context.degree(Axis::tensor) > 1) kernels::fill<float>(logits.flat(), 0, context.queue);
  linear<T, float, kSpace>(
      x, weight, Matrix<float, kSpace>(logits).column_block(vocab_begin, weight.shape[0]), context.queue);
  context.exchange.all_reduce({Axis::tensor, name}, logits.flat(), parallel::Reduction::sum, context.queue);
}

#define INSTANTIATE(P) template struct LmHead<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::layers
