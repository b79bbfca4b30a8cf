#pragma once
#include <cstdint>

#include "kernels/moe/router.h"
#include "layers/distributed_experts.h"
#include "models/adapter.h"
#include "models/config.h"
#include "models/decoder/recompute.h"
#include "models/parameter_table.h"
#include "models/weight_state.h"

namespace moebius::models {

/// How much goes through a model at once, on one rank.
struct MicroBatchShape {
  std::int64_t tokens = 0;   // of the micro batch, before padding
  std::int64_t targets = 0;  // of them asked for; at most tokens
  /// Rows that reach this rank's experts, in multiples of the mean over the ranks. Without an expert axis it
  /// is 1 whatever the router does.
  double expert_load = 1;
  kernels::Routing routing = kernels::Routing::learned;
  std::int64_t numbers_a_target = 1;  // that the loss keeps of each: its weight, and what that is made of
};

/// What the pipeline asks of a rank: which layers are its own, and how many micro batches lie in its memory
/// at once. One stage has one.
struct StageShape {
  Stages stages;
  std::int64_t in_flight = 1;  // chunks of micro batches, parallel::load_of
  std::int64_t pending = 0;    // those whose gradients of weights backward has left for later
  std::int64_t messages = 0;   // streams on their way, parallel::message_buffers
};

/// In which types a model is kept, and what it makes again rather than keep.
struct MemoryFormat {
  Space space = Space::host;
  Truth truth = Truth::weights;
  Recompute recompute = Recompute::nothing;
  layers::Overlap overlap = layers::Overlap::none;
  std::int64_t storage = 4, gradient = 4, moment = 4;  // bytes an element
  std::int64_t group_layers = 1;                       // with Recompute::full
  std::optional<AdapterSettings> adapter = {};         // that learns, beside a model that does not
  StageShape stage;
};

/// Bytes of this rank by purpose.
struct ModelMemory {
  std::int64_t weights = 0;
  std::int64_t factors = 0;  // of an adapter; what follows up to `truth` is then of these alone
  std::int64_t gradients = 0;
  std::int64_t moments = 0;       // of AdamW, both, of what the rank owns (models/ownership.h)
  std::int64_t truth = 0;         // what stands beside the weights that it owns: master or remainder
  std::int64_t activations = 0;   // what one micro batch keeps from forward for backward in its largest chunk
  std::int64_t lists = 0;         // token ids and the like of one micro batch; they lie among the activations
  std::int64_t in_flight = 1;     // how many times both are there
  std::int64_t pending_slot = 0;  // inputs of a micro batch's products that wait for their turn
  std::int64_t pending = 0;       // how many times they are there
  std::int64_t messages = 0;      // between pipeline stages
  std::int64_t remade = 0;        // what a layer, or a group of layers, makes again
  std::int64_t workspace = 0;     // the most that any step of forward, loss or backward needs besides
  std::int64_t tables = 0;        // rotary
  /// Of single operations on a device: Device::scratch, and what products keep. In host memory: gradients of
  /// other ranks on their way into sums.
  std::int64_t scratch = 0;
  /// Of one micro batch in flight.
  [[nodiscard]] std::int64_t slot() const { return activations + lists; }
  [[nodiscard]] std::int64_t total() const {
    return weights + factors + gradients + moments + truth + in_flight * slot() + pending * pending_slot +
           messages + remade + workspace + tables + scratch;
  }
  friend bool operator==(const ModelMemory&, const ModelMemory&) = default;
};

/// Targets that the output head takes at once, with `local_vocab` rows of the vocabulary here.
[[nodiscard]] std::int64_t head_targets(const MemoryFormat& format, std::int64_t local_vocab);

/// What training a decoder needs on this rank of the mesh, the same numbers that the arenas report:
/// activations, remade and workspace are Arena::peak_bytes of models/decoder (tests/models/memory_test.cpp),
/// when the log-probabilities and the gradient in the hidden states lie among the activations. `longest`: see
/// Decoder::Options.
[[nodiscard]] ModelMemory training_memory(const ModelConfig& config, const Mesh& mesh,
                                          const MicroBatchShape& shape, std::int64_t longest,
                                          const MemoryFormat& format = {});

/// What a forward pass without backward needs (Decoder::Keep::nothing, log_probabilities): no gradients, no
/// moments.
[[nodiscard]] ModelMemory scoring_memory(const ModelConfig& config, const Mesh& mesh,
                                         const MicroBatchShape& shape, std::int64_t longest,
                                         const MemoryFormat& format = {});

}  // namespace moebius::models
