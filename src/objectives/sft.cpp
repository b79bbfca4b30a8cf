#include "objectives/sft.h"

#include <algorithm>

#include "objectives/host_batch.h"

namespace moebius::objectives {

template <Platform P>
View<const float, 1, Space::host> Sft<P>::to_host(View<const float, 1, kSpace> values) {
  const View<float, 1, Space::host> staged = decoder_.staging().template make<float>(values.size());
  download<float, kSpace>(values, staged, decoder_.queue());
  return staged;
}

template <Platform P>
QueuedResult Sft<P>::accumulate(const data::MicroBatch& batch, const Share& share,
                                const models::WeightGradients<P>& gradients) {
  using Decoder = models::Decoder<P>;
  mark(Part::data, Pass::forward, decoder_.queue());
  const models::HostBatch host = host_batch<kSpace>(batch, tensor_degree_);
  std::vector<float> scale = host.of_targets(batch.loss_scale), weights(scale.size());
  const double divisor = double(std::max<std::int64_t>(share.trained_tokens, 1));
  std::ranges::transform(scale, weights.begin(), [&](float one) { return float(one / divisor); });

  typename Decoder::Saved saved(decoder_);
  Arena<kSpace>& memory = decoder_.activations();
  const auto tokens = host.placed<kSpace>(memory, decoder_.staging(), decoder_.queue());
  const auto hidden = decoder_.forward(tokens, Decoder::Keep::for_backward, saved);
  ArenaScope<kSpace> scope(memory);
  const auto log_probabilities = memory.template make<float>(host.target_count());
  const auto dhidden = memory.template make<typename P::Storage>(hidden.shape);
  decoder_.loss(hidden, tokens,
                {.weights = moebius::placed<float>(weights, memory, decoder_.staging(), decoder_.queue()),
                 .log_probabilities = log_probabilities,
                 .dhidden = dhidden},
                gradients);
  decoder_.backward({.dhidden = dhidden, .coefficients = share.coefficients}, tokens, saved, gradients);
  return {std::move(scale), to_host(log_probabilities), decoder_.router_statistics(saved),
          host.real_tokens()};
}

template <Platform P>
QueuedResult Sft<P>::evaluate(const data::MicroBatch& batch) {
  using Decoder = models::Decoder<P>;
  const models::HostBatch host = host_batch<kSpace>(batch, tensor_degree_);
  typename Decoder::Saved saved(decoder_);
  Arena<kSpace>& memory = decoder_.activations();
  const auto tokens = host.placed<kSpace>(memory, decoder_.staging(), decoder_.queue());
  const auto hidden = decoder_.forward(tokens, Decoder::Keep::nothing, saved);
  ArenaScope<kSpace> scope(memory);
  const auto log_probabilities = memory.template make<float>(host.target_count());
  decoder_.log_probabilities(hidden, tokens, log_probabilities);
  return {host.of_targets(batch.loss_scale), to_host(log_probabilities), {}, host.real_tokens()};
}

template <Platform P>
MicroResult Sft<P>::result(const QueuedResult& queued) const {
  MicroResult result;  // the loss in double, in the order of the targets
  for (std::size_t i = 0; i < queued.scale.size(); ++i) {
    result.loss_sum -= double(queued.scale[i]) * double(queued.log_probabilities(std::int64_t(i)));
  }
  if (!queued.router_statistics.empty())
    result.routers = decoder_.router_totals(queued.router_statistics, queued.real_tokens);
  return result;
}

#define INSTANTIATE(P) template class Sft<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::objectives
