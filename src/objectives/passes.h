#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "data/batch/batches.h"
#include "models/decoder/decoder.h"
#include "parallel/pipeline/schedule.h"
#include "tensor/arena_slots.h"

namespace moebius::objectives {

/// What one micro batch gave on this rank's stage; the same on its tensor ranks. Sums over micro batches,
/// stages and data ranks are those of the batch.
struct MicroResult {
  double loss_sum = 0;  // of loss_scale * token loss over the trained tokens of this context rank; on the
                        // last stage, 0 elsewhere
  models::RouterTotals routers;  // of this stage's layers
};

/// The same while it may still be on its way to host memory.
struct QueuedResult {
  std::vector<float> scale;                             // [targets]; on the last stage, as what follows
  View<const float, 1, Space::host> log_probabilities;  // [targets]
  struct Routers {
    std::int64_t chunk;
    View<const float, 2, Space::host> statistics;  // see Decoder
  };
  std::vector<Routers> routers;
  std::int64_t real_tokens = 0;  // of the micro batch
};

/// Supervised fine-tuning. The loss of a global batch is
///
///   sum over trained tokens of loss_scale * -log p(token) / number of trained tokens + the auxiliary losses,
///
/// whatever the micro batches and the mesh: gradients carry the division from the start, so that they are
/// plain sums.
template <Platform P>
class Sft {
 public:
  static constexpr Space kSpace = P::kSpace;
  using Batches = std::span<const data::MicroBatch>;  // of this data rank, the same on all stages
  using Results = std::vector<QueuedResult>;          // of the micro batches

  /// Where micro batches that are in work lie: as many slots as the schedule has in flight; what their
  /// backward leaves for later, as many as it has pending; and the messages between stages.
  struct Memory {
    ArenaSlots<kSpace>& slots;
    ArenaSlots<kSpace>& pending;
    Arena<kSpace>& messages;
  };
  /// Of the global batch that a micro batch belongs to.
  struct Share {
    std::int64_t trained_tokens = 0;
    layers::AuxCoefficients coefficients;  // divided by the number of micro batches
  };
  Sft(models::Decoder<P>& decoder, const Memory& memory) : decoder_(decoder), memory_(memory) {}

  /// Queues forward and backward of all micro batches as the schedule says; `gradients` becomes the sum of
  /// theirs. Empty micro batches take part in all exchanges. What is returned lies in the decoder's staging
  /// memory.
  struct Training {
    const parallel::PipelineSchedule& schedule;
    Batches batches;
    Share share;
    const models::Shards<typename P::Gradient, kSpace>& gradients;
    /// See models::WeightGradients: told once of each weight, when the last micro batch has been through it.
    std::function<void(std::string_view names)> done = {};
    /// Told "forward" or "backward" (literals), of each micro batch before it is queued.
    std::function<void(std::string_view phase)> enter = {};
  };
  [[nodiscard]] Results train(const Training& training);
  /// Queues forward only.
  [[nodiscard]] Results evaluate(Batches batches);
  /// When the caller has waited for the queue.
  [[nodiscard]] MicroResult result(const QueuedResult& queued) const;

 private:
  class Stage;
  class TrainingStage;
  class ForwardStage;

  models::Decoder<P>& decoder_;
  Memory memory_;
};

}  // namespace moebius::objectives
