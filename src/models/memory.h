#pragma once
#include <cstdint>

#include "models/config.h"
#include "models/parameter_table.h"

namespace moebius::models {

/// How much goes through a model at once, on one rank.
struct MicroBatchShape {
  std::int64_t tokens = 0;   // of the micro batch, before padding
  std::int64_t targets = 0;  // of them asked for; at most tokens
  /// Rows that reach this rank's experts, in multiples of what even routing sends there. Without an expert
  /// axis it is 1 whatever the router does.
  double expert_load = 1;
};

/// Bytes of this rank by purpose.
struct ModelMemory {
  std::int64_t weights = 0, gradients = 0;
  std::int64_t moments = 0;      // of AdamW, both
  std::int64_t activations = 0;  // what one micro batch keeps from forward for backward
  std::int64_t workspace = 0;    // the most that any step of forward, loss or backward needs besides
  std::int64_t tables = 0;       // rotary
  [[nodiscard]] std::int64_t total() const {
    return weights + gradients + moments + activations + workspace + tables;
  }
};

/// What training a decoder needs on this rank of the mesh in fp32, the same numbers that the arenas report:
/// activations and workspace are Arena::peak_bytes of models/decoder (tests/models/memory_test.cpp), when the
/// log-probabilities and the gradient in the hidden states lie among the activations. `longest`: see
/// Decoder::Options.
[[nodiscard]] ModelMemory training_memory(const ModelConfig& config, const Mesh& mesh,
                                          const MicroBatchShape& shape, std::int64_t longest);

/// What a forward pass without backward needs (Decoder::Keep::nothing, log_probabilities): no gradients, no
/// moments.
[[nodiscard]] ModelMemory scoring_memory(const ModelConfig& config, const Mesh& mesh,
                                         const MicroBatchShape& shape, std::int64_t longest);

}  // namespace moebius::models
