#pragma once
#include <functional>

#include "kernels/loss/preference.h"
#include "objectives/objective.h"

namespace moebius::objectives {

/// Log-probabilities under the reference of the targets of each micro batch, those of this context rank: what
/// Predictions::log_probabilities would be; on the last stage, empty elsewhere. Collective.
using Reference = std::function<std::vector<std::vector<float>>(Batches)>;

/// Direct preference optimisation on pairs of answers (kernels/loss/preference.h). The loss of a global batch
/// is
///
///   sum over pairs of loss(d) / number of pairs
///     + rpo_alpha * sum over chosen tokens of -log p(token) / number of trained chosen tokens
///
/// where log-probabilities of answers are sums over their trained tokens.
template <Platform P>
class Dpo final : public Objective<P> {
 public:
  using typename Objective<P>::Head, typename Objective<P>::Numbers;

  struct Settings {
    kernels::PreferenceLoss loss;
    double rpo_alpha = 0;
  };
  Dpo(const Settings& settings, Reference reference)
      : settings_(settings), reference_(std::move(reference)) {}

  void begin(Batches batches, const BatchCounts& counts) override;
  [[nodiscard]] View<const float, 1, P::kSpace> weights(const Head& head) override;
  void measure(std::int64_t micro_batch, const Predictions& predictions,
               std::vector<double>& measured) const override;
  [[nodiscard]] std::vector<double> totals(std::span<const double> measured) const override;
  /// loss, dpo_loss, rpo_loss (also where rpo_alpha is 0), and of the pairs the means of reward_margin,
  /// reward_accuracy, reward_chosen, reward_rejected, log_probability_chosen, log_probability_rejected.
  [[nodiscard]] Numbers numbers(std::span<const double> totals, const BatchCounts& counts) const override;

 private:
  Settings settings_;
  Reference reference_;
  Batches batches_;
  BatchCounts counts_;
  std::vector<std::vector<float>> expected_;  // [micro batches][targets]; the reference's
};

}  // namespace moebius::objectives
