#pragma once
#include "models/weight_state.h"
#include "optimizer/gradient_sum.h"
#include "optimizer/weight_gather.h"
#include "parallel/exchange.h"
#include "tensor/platform.h"

namespace moebius::optimizer {

struct AdamSettings {
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8;
  double weight_decay = 0.1;       // of the rows that the table says decay
  double clip_norm = 1;            // 0: gradients are not clipped
  Dtype moments = Dtype::float32;  // or bfloat16, where weights are bf16
};

/// First and second moments of what this rank owns; zeros at the start of training. Together with the number
/// of the iteration they are the whole state of the optimizer: what a checkpoint stores.
template <Space S>
struct Moments {
  models::AnyOwned<S> exp_avg, exp_avg_sq;

  /// Takes the memory from `arena` and clears it.
  Moments(const models::Ownership& ownership, Dtype dtype, Arena<S>& arena, Queue<S> queue);
  /// Zeros, as at the start of training.
  void clear(Queue<S> queue = {});
};

/// The values of one step; `iteration` counts from 0, over the whole training and not since a resume.
struct StepValues {
  std::int64_t iteration = 0;
  double lr = 0;
  /// Multiplies every gradient before norm and clipping: 1 / trained tokens of the global batch.
  double gradient_scale = 1;
};

struct StepResult {
  double gradient_norm = 0;  // scaled, before clipping, the same on all ranks
  /// The norm is a finite number. Otherwise nothing was changed, and training has diverged.
  [[nodiscard]] bool is_finite() const;
};

/// The same while it may still be on its way to host memory.
struct QueuedStep {
  View<const double, 1, Space::host> squares;  // [1], in staging memory
  double gradient_scale = 1;
  /// When the caller has waited for the queue.
  [[nodiscard]] StepResult result() const;
};

/// AdamW with decoupled decay. Each rank moves the weights that it owns and gets the others from their owners
/// (models/ownership.h); where several own the same, they move alike, bit for bit, because they see the same
/// summed gradients. Moments move at lr = 0 too.
template <Platform P>
class Adam {
 public:
  static constexpr Space kSpace = P::kSpace;
  using W = typename P::Storage;
  using G = typename P::Gradient;

  Adam(const models::Ownership& ownership, const AdamSettings& settings, parallel::Exchange<kSpace>& exchange,
       Arena<kSpace>& arena, Queue<kSpace> queue = {});

  /// The gradients of the parameters whose names begin with `names` are queued, those of this step: what they
  /// complete begins to be summed, while others are computed. As often as one likes, each parameter once.
  void gradients_done(std::string_view names, const models::Shards<G, kSpace>& gradients,
                      Queue<kSpace> queue) {
    sum_gradients_.start(names, gradients, queue);
  }

  /// Queues the step: sums the gradients over the ranks, clips them and moves the weights. Gaps between the
  /// rows of `gradients` must be zeros. Of the gradients the owned ones are left summed, others undefined; of
  /// the weights the owned ones have moved, others come with wait_for_weights.
  [[nodiscard]] QueuedStep step(const StepValues& values, const models::WeightState<W, kSpace>& weights,
                                const models::Shards<G, kSpace>& gradients, Staging<kSpace>& staging,
                                Queue<kSpace> queue = {});

  /// Weights that other ranks have moved arrive while the next forward runs; what is queued behind this sees
  /// those of the parameters whose names begin with `names`.
  void wait_for_weights(std::string_view names, Queue<kSpace> queue) {
    gather_weights_.wait_for(names, queue);
  }
  /// All of them: before weights are read by any other way, and before this object ends.
  void wait_for_all_weights(Queue<kSpace> queue) { gather_weights_.wait_for_all(queue); }

  [[nodiscard]] Moments<kSpace>& moments() { return moments_; }

 private:
  /// Neighbouring owned elements of rows that all decay, or none of them.
  struct Run {
    Range elements;      // of the flat buffers
    std::int64_t place;  // of the first of them in the owned buffers
    bool decays;
  };
  [[nodiscard]] static std::vector<Run> runs_of(const models::Ownership& ownership);
  void move_as_stored(const Run& run, const StepValues& values, const models::WeightState<W, kSpace>& weights,
                      const models::Shards<G, kSpace>& gradients, Queue<kSpace> queue);
  template <class M>
  void move(const Run& run, const StepValues& values, const models::WeightState<W, kSpace>& weights,
            const models::Shards<G, kSpace>& gradients, Queue<kSpace> queue);

  AdamSettings settings_;
  parallel::Exchange<kSpace>* exchange_;
  const models::Ownership* ownership_;
  std::vector<Run> runs_;
  GradientSum<G, kSpace> sum_gradients_;
  WeightGather<W, kSpace> gather_weights_;
  Moments<kSpace> moments_;
  View<double, 1, kSpace> squares_;  // [1]
  View<float, 1, kSpace> scale_;     // [1]; what gradients are multiplied by
};

}  // namespace moebius::optimizer
