#include "training/reference_model.h"

namespace moebius::training {

template <Platform P>
ReferenceModel<P>::ReferenceModel(const job::Job& job, const models::ModelConfig& config,
                                  const Weights& weights, ModelState<P>& state)
    : state_(state),
      decoder_(config,
               {.weights = weights,
                .exchange = *state.exchange,
                .activations = state.activations.first(),
                .remade = state.remade,
                .workspace = state.workspace,
                .staging = state.staging,
                .queue = state.queue},
               decoder_options<P>(job, state.stages)),
      passes_(decoder_, {.slots = state.activations, .pending = state.pending, .messages = state.messages}) {}

template <Platform P>
std::vector<std::vector<float>> ReferenceModel<P>::log_probabilities(objectives::Batches batches) {
  const auto results = passes_.evaluate(batches);
  state_.exchange->wait({cluster::Axis::world, "log-probabilities of the reference"}, state_.queue);
  std::vector<std::vector<float>> values(batches.size());
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (!results[i].predictions) continue;
    const auto found = results[i].predictions->log_probabilities;
    values[i].assign(found.data, found.data + found.size());
  }
  state_.staging.release({});
  return values;
}

#define INSTANTIATE(P) template class ReferenceModel<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::training
