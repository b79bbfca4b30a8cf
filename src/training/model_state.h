#pragma once
#include <memory>

#include "job/job.h"
#include "models/decoder/decoder.h"
#include "models/models.h"
#include "models/shards.h"
#include "optimizer/optimizer.h"
#include "parallel/parallel.h"

namespace moebius::training {

/// This rank's part of a model in training: memory by purpose, and the program that runs on it.
template <Platform P>
struct ModelState {
  static constexpr Space S = P::kSpace;

  std::unique_ptr<parallel::Exchange<S>> exchange;
  models::ParameterTable table;
  models::ShardLayout layout;
  Arena<S> weight_memory{"weights"}, gradient_memory{"gradients"}, optimizer_memory{"optimizer"};
  Arena<S> activations{"activations"}, workspace{"workspace"};
  models::Shards<typename P::Storage, S> weights;
  models::Shards<float, S> gradients;  // zeros between steps
  optimizer::Adam<P> adam;
  models::Decoder<P> decoder;

  /// Weights are undefined, everything else is ready. Throws std::bad_alloc.
  ModelState(const job::Job& job, const models::ModelConfig& config,
             std::unique_ptr<parallel::Exchange<S>> exchange);
  ModelState(const ModelState&) = delete;
  ModelState& operator=(const ModelState&) = delete;
};

/// "weights 1.2 GiB, gradients ..., activations ...": the peaks of the arenas.
template <Platform P>
[[nodiscard]] std::string memory_text(const ModelState<P>& state);

}  // namespace moebius::training
