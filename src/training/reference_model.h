#pragma once
#include "objectives/objectives.h"
#include "training/model_state.h"

namespace moebius::training {

/// What answers are compared with: weights that do not move, on the mesh of the model in training, and a
/// decoder that reads them. It works in that model's memory, between its steps.
template <Platform P>
class ReferenceModel {
 public:
  static constexpr Space kSpace = P::kSpace;

  using Weights = models::Shards<typename P::Storage, kSpace>;

  /// The weights may be filled later.
  ReferenceModel(const job::Job& job, const models::ModelConfig& config, const Weights& weights,
                 ModelState<P>& state);
  /// See objectives::Reference. Waits for the queue.
  [[nodiscard]] std::vector<std::vector<float>> log_probabilities(objectives::Batches batches);

 private:
  ModelState<P>& state_;
  models::Decoder<P> decoder_;
  objectives::Passes<P> passes_;
};

}  // namespace moebius::training
