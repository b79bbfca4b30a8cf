#pragma once
#include "objectives/objective.h"

namespace moebius::objectives {

/// Supervised fine-tuning. The loss of a global batch is
///
///   sum over trained tokens of loss_scale * -log p(token) / number of trained tokens
template <Platform P>
class Sft final : public Objective<P> {
 public:
  using typename Objective<P>::Head, typename Objective<P>::Numbers;

  void begin(Batches batches, const BatchCounts& counts) override;
  [[nodiscard]] View<const float, 1, P::kSpace> weights(const Head& head) override;
  void measure(std::int64_t micro_batch, const Predictions& predictions,
               std::vector<double>& measured) const override;
  [[nodiscard]] std::vector<double> totals(std::span<const double> measured) const override;
  [[nodiscard]] Numbers numbers(std::span<const double> totals, const BatchCounts& counts) const override;

 private:
  Batches batches_;
  double trained_ = 1;
};

}  // namespace moebius::objectives
