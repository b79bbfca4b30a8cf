#pragma once
#include <memory>

#include "job/job.h"
#include "models/decoder/decoder.h"
#include "models/memory.h"
#include "models/models.h"
#include "models/weight_state.h"
#include "optimizer/optimizer.h"
#include "parallel/parallel.h"
#include "parallel/pipeline/schedule.h"
#include "tensor/arena_slots.h"
#include "tensor/phase_clock.h"

namespace moebius::training {

/// A model whose weights do not learn, because an adapter does, or because answers are compared with them:
/// they are there once, in their storage type.
template <Platform P>
struct FrozenModel {
  models::ShardLayout layout;
  models::Shards<typename P::Storage, P::kSpace> weights;

  FrozenModel(models::ShardLayout given_layout, Arena<P::kSpace>& memory)
      : layout(std::move(given_layout)), weights(layout, memory) {}
};

/// This rank's part of a model in training: memory by purpose, and the program that runs on it. What learns
/// is the model, or, with an adapter, its factors: `table` to `adam` are of those.
template <Platform P>
struct ModelState {
  static constexpr Space kSpace = P::kSpace;

  std::unique_ptr<parallel::Exchange<kSpace>> exchange;
  PhaseClock<kSpace> clock;  // of the queue
  Queue<kSpace> queue;
  models::ParameterTable table;
  models::Stages stages;
  parallel::PipelineSchedule schedule;  // of every step
  models::ShardLayout layout;
  models::Ownership ownership;
  Arena<kSpace> weight_memory{"weights"}, gradient_memory{"gradients"}, optimizer_memory{"optimizer"},
      reference_memory{"reference"};
  ArenaSlots<kSpace> activations;  // a slot for each micro batch in flight
  ArenaSlots<kSpace> pending;      // and for each whose backward has left the gradients of weights for later
  Arena<kSpace> messages{"messages"}, remade{"activations made again"}, workspace{"workspace"};
  Staging<kSpace> staging{"staging"};
  std::unique_ptr<FrozenModel<P>> frozen;     // null: all weights learn
  std::unique_ptr<FrozenModel<P>> reference;  // with dpo, where no other weights serve as the reference
  models::WeightState<typename P::Storage, kSpace> weights;
  models::Shards<typename P::Gradient, kSpace> gradients;  // of the step; zeros in the gaps between rows
  optimizer::Adam<P> adam;
  models::Decoder<P> decoder;

  /// Weights are undefined, everything else is ready. Throws ClusterError.
  ModelState(const job::Job& job, const models::ModelConfig& config,
             std::unique_ptr<parallel::Exchange<kSpace>> exchange, Queue<kSpace> queue);
  /// Takes the memory of a step from the system at once.
  void reserve(const models::ModelMemory& planned);
  ModelState(const ModelState&) = delete;
  ModelState& operator=(const ModelState&) = delete;
};

template <Platform P>
[[nodiscard]] typename models::Decoder<P>::Options decoder_options(const job::Job& job,
                                                                   const models::Stages& stages);

/// The most memory that this rank has had so far: of its GPU, what the arenas and the operations took; of a
/// CPU, the process.
template <Platform P>
[[nodiscard]] std::int64_t peak_bytes(const ModelState<P>& state);

/// "weights 1.2 GiB, gradients ..., activations ...": the peaks of the arenas.
template <Platform P>
[[nodiscard]] std::string memory_text(const ModelState<P>& state);

}  // namespace moebius::training
