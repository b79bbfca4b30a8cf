#include "objectives/dpo.h"

#include <algorithm>
#include <array>

namespace moebius::objectives {
namespace {

/// First target of each sequence, then the end: [sequences + 1]. `tokens` rise.
std::vector<std::int32_t> target_starts(std::span<const std::int32_t> tokens, const data::MicroBatch& batch) {
  std::vector<std::int32_t> starts;
  starts.reserve(batch.starts.size());
  for (const std::int32_t start : batch.starts)
    starts.push_back(std::int32_t(std::ranges::lower_bound(tokens, start) - tokens.begin()));
  return starts;
}

/// What is measured of each answer.
struct Answer {
  double policy = 0, ratio = 0;  // log-probability, and what of it is more than the reference's
};
constexpr std::size_t kMeasuredOfPair = 4;

enum Total : std::uint8_t {  // sums over pairs
  total_loss,
  total_margin,
  total_accuracy,
  total_reward_chosen,
  total_reward_rejected,
  total_chosen,
  total_rejected,
  count_of_totals
};

}  // namespace

template <Platform P>
void Dpo<P>::begin(Batches batches, const BatchCounts& counts) {
  batches_ = batches;
  counts_ = counts;
  expected_ = reference_(batches);
}

template <Platform P>
auto Dpo<P>::weights(const Head& head) -> View<const float, 1, P::kSpace> {
  models::Decoder<P>& decoder = head.decoder;
  const data::MicroBatch& batch = batches_[std::size_t(head.micro_batch)];
  const auto placed = [&]<class T>(const std::vector<T>& values) {
    return moebius::placed<T>(values, head.memory, decoder.staging(), decoder.queue());
  };
  const auto log_probabilities = head.memory.template make<float>(head.host.target_count());
  const auto reference = placed(expected_[std::size_t(head.micro_batch)]);
  const auto starts = placed(target_starts(head.host.target_tokens(), batch));
  const auto differences = head.memory.template make<float>(batch.sequences());
  decoder.log_probabilities(head.hidden, head.tokens, log_probabilities);
  kernels::sequence_differences(
      kernels::SequenceDifferences<P::kSpace>{.log_probabilities = log_probabilities,
                                              .reference = reference,
                                              .target_starts = starts,
                                              .differences = differences},
      decoder.queue());
  decoder.exchange().all_reduce({parallel::Axis::context, "differences of answers"}, differences,
                                parallel::Reduction::sum, decoder.queue());
  const auto share = [](double of, std::int64_t count) {
    return of / double(std::max<std::int64_t>(count, 1));
  };
  const auto weights = head.memory.template make<float>(head.host.target_count());
  kernels::preference_weights(
      kernels::PreferenceWeights<P::kSpace>{
          .loss = settings_.loss,
          .pair_share = share(1, counts_.pairs),
          .chosen_share = share(settings_.rpo_alpha, counts_.trained_chosen),
          .differences = differences,
          .target_starts = starts,
          .weights = weights},
      decoder.queue());
  return weights;
}

/// Of each pair the chosen answer and the rejected one, in double, in the order of the targets.
template <Platform P>
void Dpo<P>::measure(std::int64_t micro_batch, const Predictions& predictions,
                     std::vector<double>& measured) const {
  const data::MicroBatch& batch = batches_[std::size_t(micro_batch)];
  const std::vector<float>& reference = expected_[std::size_t(micro_batch)];
  const std::vector<std::int32_t> starts = target_starts(predictions.tokens, batch);
  for (std::size_t sequence = 0; sequence + 1 < starts.size(); ++sequence) {
    Answer answer;
    for (std::int64_t t = starts[sequence]; t < starts[sequence + 1]; ++t) {
      const auto policy = double(predictions.log_probabilities(t));
      answer.policy += policy;
      answer.ratio += policy - double(reference[std::size_t(t)]);
    }
    measured.insert(measured.end(), {answer.policy, answer.ratio});
  }
}

template <Platform P>
std::vector<double> Dpo<P>::totals(std::span<const double> measured) const {
  std::vector<double> totals(count_of_totals);
  for (; !measured.empty(); measured = measured.subspan(kMeasuredOfPair)) {
    const Answer chosen{measured[0], measured[1]}, rejected{measured[2], measured[3]};
    const double beta = settings_.loss.beta;
    totals[total_loss] += kernels::preference_loss(settings_.loss, chosen.ratio - rejected.ratio);
    totals[total_margin] += beta * (chosen.ratio - rejected.ratio);
    totals[total_accuracy] += chosen.ratio > rejected.ratio ? 1 : 0;
    totals[total_reward_chosen] += beta * chosen.ratio;
    totals[total_reward_rejected] += beta * rejected.ratio;
    totals[total_chosen] += chosen.policy;
    totals[total_rejected] += rejected.policy;
  }
  return totals;
}

template <Platform P>
auto Dpo<P>::numbers(std::span<const double> totals, const BatchCounts& counts) const -> Numbers {
  const auto mean = [&](Total total) {
    return totals[total] / double(std::max<std::int64_t>(counts.pairs, 1));
  };
  const double rpo = -totals[total_chosen] / double(std::max<std::int64_t>(counts.trained_chosen, 1));
  return {{"loss", mean(total_loss) + settings_.rpo_alpha * rpo},
          {"dpo_loss", mean(total_loss)},
          {"rpo_loss", rpo},
          {"reward_margin", mean(total_margin)},
          {"reward_accuracy", mean(total_accuracy)},
          {"reward_chosen", mean(total_reward_chosen)},
          {"reward_rejected", mean(total_reward_rejected)},
          {"log_probability_chosen", mean(total_chosen)},
          {"log_probability_rejected", mean(total_rejected)}};
}

#define INSTANTIATE(P) template class Dpo<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::objectives
