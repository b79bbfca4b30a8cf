#include "objectives/sft.h"

#include <algorithm>

namespace moebius::objectives {

template <Platform P>
void Sft<P>::begin(Batches batches, const BatchCounts& counts) {
  batches_ = batches;
  trained_ = double(std::max<std::int64_t>(counts.trained, 1));
}

template <Platform P>
auto Sft<P>::weights(const Head& head) -> View<const float, 1, P::kSpace> {
  std::vector<float> weights = head.host.of_targets(batches_[std::size_t(head.micro_batch)].loss_scale);
  for (float& weight : weights) weight = float(weight / trained_);
  return placed<float>(weights, head.memory, head.decoder.staging(), head.decoder.queue());
}

/// The loss in double, in the order of the targets.
template <Platform P>
void Sft<P>::measure(std::int64_t micro_batch, const Predictions& predictions,
                     std::vector<double>& measured) const {
  const std::vector<float>& scale = batches_[std::size_t(micro_batch)].loss_scale;
  double sum = 0;
  for (std::size_t i = 0; i < predictions.tokens.size(); ++i) {
    sum -= double(scale[std::size_t(predictions.tokens[i])]) *
           double(predictions.log_probabilities(std::int64_t(i)));
  }
  measured.resize(1);
  measured[0] += sum;
}

template <Platform P>
std::vector<double> Sft<P>::totals(std::span<const double> measured) const {
  return {measured.empty() ? 0 : measured[0]};
}

template <Platform P>
auto Sft<P>::numbers(std::span<const double> totals, const BatchCounts& counts) const -> Numbers {
  return {{"loss", totals[0] / double(std::max<std::int64_t>(counts.trained, 1))}};
}

#define INSTANTIATE(P) template class Sft<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::objectives
