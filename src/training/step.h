#pragma once
#include "base/stopwatch.h"
#include "data/batch/batches.h"
#include "objectives/objectives.h"
#include "plan/traffic.h"
#include "training/metrics.h"
#include "training/model_state.h"
#include "training/speed.h"

namespace moebius::training {

/// One optimizer step, on one page (step.cpp): the micro batches of this data rank, the sums over ranks, the
/// move.
template <Platform P>
class Step {
 public:
  static constexpr Space kSpace = P::kSpace;

  Step(const job::Job& job, ModelState<P>& state, objectives::Objective<P>& objective,
       cluster::Cluster& cluster);

  /// Trains on the global batch at `position` of `batches` as iteration `iteration` (from 0). Collective.
  /// Throws AgreedError (ExitCode::diverged) where loss or gradient are not finite; the weights have not
  /// moved then.
  [[nodiscard]] Metrics train(data::Batches& batches, std::int64_t position, std::int64_t iteration);
  /// The loss over one pass of `batches`. Collective.
  [[nodiscard]] double evaluate(const data::Batches& batches);

  /// Of the newest call of train.
  [[nodiscard]] const StepTimes& times() const { return times_; }

  /// What this rank has sent to others in the steps so far, by axis.
  [[nodiscard]] const plan::AxisBytes& sent() const { return sent_; }

  /// The length of the whole training, which the learning rate follows.
  void set_iterations(std::int64_t iterations) { schedule_.iterations = iterations; }

 private:
  struct Counts {
    objectives::BatchCounts batch;
    std::int64_t tokens = 0;
    double squares = 0;  // of the sequences' lengths

    void add(const data::MicroBatch& more);
  };
  struct Sums;  // over the micro batches of the global batch
  [[nodiscard]] std::vector<data::MicroBatch> own_micro_batches(data::Batches& batches,
                                                                std::int64_t position);
  [[nodiscard]] Counts over_data_ranks(const Counts& own);
  [[nodiscard]] std::vector<objectives::QueuedResult> forward_and_backward(
      objectives::Batches micro_batches, const objectives::BatchCounts& counts,
      const layers::AuxCoefficients& coefficients);
  [[nodiscard]] std::vector<double> totals_over_context(std::span<const objectives::QueuedResult> results);
  void expect_finite(double loss, const optimizer::StepResult& update, std::int64_t iteration);
  void note_times(double seconds, const Counts& counts, double micro_batches);
  [[nodiscard]] Sums sums_over_ranks(std::span<const objectives::QueuedResult> results);
  void finish();

  const job::Job& job_;
  ModelState<P>& state_;
  cluster::Cluster& cluster_;
  objectives::Objective<P>& objective_;
  objectives::Passes<P> passes_;
  optimizer::Schedule schedule_;
  plan::AxisBytes sent_{};
  StepTimes times_;
};

}  // namespace moebius::training
