#include "objectives/sft.h"

#include <algorithm>

#include "objectives/host_batch.h"

namespace moebius::objectives {
namespace {

/// -sum scale * log p in double, in the order of the targets.
double loss_sum(const std::vector<float>& scale, View<const float, 1, Space::host> log_probabilities) {
  double sum = 0;
  for (std::size_t i = 0; i < scale.size(); ++i) sum -= double(scale[i]) * log_probabilities(std::int64_t(i));
  return sum;
}

}  // namespace

template <Platform P>
MicroResult Sft<P>::accumulate(const data::MicroBatch& batch, const Share& share,
                               const models::Shards<float, kSpace>& gradients) {
  const models::HostBatch host = host_batch(batch, tensor_degree_);
  const models::TokenBatch<kSpace> tokens = host.view();
  const std::vector<float> scale = host.of_targets(batch.loss_scale);
  std::vector<float> weights(scale.size());
  const double divisor = double(std::max<std::int64_t>(share.trained_tokens, 1));
  std::transform(scale.begin(), scale.end(), weights.begin(),
                 [&](float one) { return float(one / divisor); });

  typename models::Decoder<P>::Saved saved(decoder_.activations());
  const auto hidden = [&] {
    const Timed timed(times_, "forward");
    return decoder_.forward(tokens, models::Decoder<P>::Keep::for_backward, saved);
  }();
  ArenaScope<kSpace> scope(decoder_.activations());
  const auto log_probabilities = decoder_.activations().template make<float>(host.target_count());
  const auto dhidden = decoder_.activations().template make<typename P::Storage>(hidden.shape);
  {
    const Timed timed(times_, "loss");
    decoder_.loss(hidden, tokens,
                  {.weights = {weights.data(), {host.target_count()}},
                   .log_probabilities = log_probabilities,
                   .dhidden = dhidden},
                  gradients);
  }
  const Timed timed(times_, "backward");
  decoder_.backward({.dhidden = dhidden, .coefficients = share.coefficients}, tokens, saved, gradients);
  return {loss_sum(scale, log_probabilities), decoder_.router_totals(saved)};
}

template <Platform P>
MicroResult Sft<P>::evaluate(const data::MicroBatch& batch) {
  const Timed timed(times_, "eval");
  const models::HostBatch host = host_batch(batch, tensor_degree_);
  const models::TokenBatch<kSpace> tokens = host.view();
  typename models::Decoder<P>::Saved saved(decoder_.activations());
  const auto hidden = decoder_.forward(tokens, models::Decoder<P>::Keep::nothing, saved);
  ArenaScope<kSpace> scope(decoder_.activations());
  const auto log_probabilities = decoder_.activations().template make<float>(host.target_count());
  decoder_.log_probabilities(hidden, tokens, log_probabilities);
  return {loss_sum(host.of_targets(batch.loss_scale), log_probabilities), {}};
}

template class Sft<HostFp32>;

}  // namespace moebius::objectives
