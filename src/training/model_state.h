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
  static constexpr Space kSpace = P::kSpace;

  std::unique_ptr<parallel::Exchange<kSpace>> exchange;
  models::ParameterTable table;
  models::ShardLayout layout;
  Arena<kSpace> weight_memory{"weights"}, gradient_memory{"gradients"}, optimizer_memory{"optimizer"};
  Arena<kSpace> activations{"activations"}, workspace{"workspace"};
  models::Shards<typename P::Storage, kSpace> weights;
  models::Shards<float, kSpace> gradients;  // zeros between steps
  optimizer::Adam<P> adam;
  models::Decoder<P> decoder;

  /// Weights are undefined, everything else is ready. Throws ClusterError.
  ModelState(const job::Job& job, const models::ModelConfig& config,
             std::unique_ptr<parallel::Exchange<kSpace>> exchange);
  ModelState(const ModelState&) = delete;
  ModelState& operator=(const ModelState&) = delete;
};

/// "weights 1.2 GiB, gradients ..., activations ...": the peaks of the arenas.
template <Platform P>
[[nodiscard]] std::string memory_text(const ModelState<P>& state);

}  // namespace moebius::training
