#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "objectives/objective.h"
#include "parallel/pipeline/schedule.h"
#include "tensor/arena_slots.h"

namespace moebius::objectives {

/// What one micro batch gave on this rank's stage; the same on its tensor ranks. It may still be on its way
/// to host memory: to be read when the caller has waited.
struct QueuedResult {
  std::optional<Predictions> predictions;  // on the last stage
  struct Routers {
    std::int64_t chunk;
    View<const float, 2, Space::host> statistics;  // see Decoder
  };
  std::vector<Routers> routers;  // of this stage's layers, after training
  std::int64_t real_tokens = 0;  // of the micro batch
};

/// Takes micro batches through the decoder, as a schedule says where it has stages. Empty micro batches take
/// part in all exchanges.
template <Platform P>
class Passes {
 public:
  static constexpr Space kSpace = P::kSpace;
  using Results = std::vector<QueuedResult>;  // of the micro batches

  /// Where micro batches that are in work lie: as many slots as the schedule has in flight; what their
  /// backward leaves for later, as many as it has pending; and the messages between stages.
  struct Memory {
    ArenaSlots<kSpace>& slots;
    ArenaSlots<kSpace>& pending;
    Arena<kSpace>& messages;
  };
  Passes(models::Decoder<P>& decoder, const Memory& memory) : decoder_(decoder), memory_(memory) {}

  /// Queues forward and backward of all micro batches; `gradients` becomes the sum of theirs. What is
  /// returned lies in the decoder's staging memory.
  struct Training {
    const parallel::PipelineSchedule& schedule;
    Batches batches;
    Objective<P>& objective;               // that has begun with the batches
    layers::AuxCoefficients coefficients;  // divided by the number of micro batches of the global batch
    const models::Shards<typename P::Gradient, kSpace>& gradients;
    /// See models::WeightGradients: told once of each weight, when the last micro batch has been through it.
    std::function<void(std::string_view names)> done = {};
    /// Told "forward" or "backward" (literals), of each micro batch before it is queued.
    std::function<void(std::string_view phase)> enter = {};
  };
  [[nodiscard]] Results train(const Training& training);
  /// Queues forward only.
  [[nodiscard]] Results evaluate(Batches batches);
  /// What the routers of this stage did with a micro batch. Sums over micro batches, stages and data ranks
  /// are those of the batch.
  [[nodiscard]] models::RouterTotals routers(const QueuedResult& queued) const;

 private:
  class Stage;
  class TrainingStage;
  class ForwardStage;

  models::Decoder<P>& decoder_;
  Memory memory_;
};

}  // namespace moebius::objectives
