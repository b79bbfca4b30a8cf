#pragma once
#include "models/shards.h"
#include "optimizer/gradient_sum.h"
#include "parallel/exchange.h"
#include "tensor/platform.h"

namespace moebius::optimizer {

struct AdamSettings {
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8;
  double weight_decay = 0.1;  // of the rows that the table says decay
  double clip_norm = 1;       // 0: gradients are not clipped
};

/// First and second moments of all local shards, in fp32; zeros at the start of training. Together with the
/// number of the iteration they are the whole state of the optimizer: what a checkpoint stores.
template <Space S>
struct Moments {
  models::Shards<float, S> exp_avg, exp_avg_sq;

  /// Takes the memory from `arena` and clears it.
  Moments(const models::ShardLayout& layout, Arena<S>& arena, Queue<S> queue);
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
  double clipping = 1;       // the factor that was applied
  /// The norm is a finite number. Otherwise nothing was changed, and training has diverged.
  [[nodiscard]] bool is_finite() const;
};

/// AdamW with decoupled decay on this rank's shards. Weights and moments of all ranks that hold the same
/// shard move alike, bit for bit, because they see the same summed gradients. Moments move at lr = 0 too.
template <Platform P>
class Adam {
 public:
  static constexpr Space kSpace = P::kSpace;
  using Storage = typename P::Storage;

  Adam(const models::ShardLayout& layout, const AdamSettings& settings, parallel::Exchange<kSpace>& exchange,
       Arena<kSpace>& arena, Queue<kSpace> queue = {});

  /// Sums the gradients over the ranks, clips them and moves the weights. The gradients are zeros afterwards,
  /// ready to be accumulated into, gaps between rows excepted, which must be zeros before already.
  StepResult step(const StepValues& values, const models::Shards<Storage, kSpace>& weights,
                  const models::Shards<float, kSpace>& gradients, Queue<kSpace> queue = {});

  [[nodiscard]] Moments<kSpace>& moments() { return moments_; }

 private:
  AdamSettings settings_;
  parallel::Exchange<kSpace>* exchange_;
  GradientSum<kSpace> sum_gradients_;
  Moments<kSpace> moments_;
};

}  // namespace moebius::optimizer
