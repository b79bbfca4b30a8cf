#pragma once
#include <memory>

#include "commands/language.h"
#include "commands/session.h"
#include "hub/hub.h"
#include "models/config.h"

namespace moebius::commands {

/// What a command calls MODEL: its files and sizes, no weights yet.
struct OpenModel {
  hub::ModelSource source;
  models::ModelConfig config;
  std::unique_ptr<hub::AdapterSource> adapter;  // null: none
};
/// MODEL as the command line names it: the model that an adapter is for, or, where that lies where it was
/// trained, the adapter alone. `adapter`: what --adapter says, or empty. Collective; throws AgreedError.
[[nodiscard]] OpenModel open_model(const ModelArguments& model, Session& session);

/// Sequences that grow token by token.
class Decoding {
 public:
  virtual ~Decoding() = default;
  /// Appends new_tokens[s] to sequence s (none: it rests); logits [sequences * vocab] behind the last token
  /// of each.
  virtual void step(std::span<const std::vector<std::int32_t>> new_tokens, std::span<float> logits) = 0;
};

/// A model's weights spread over the ranks, ready to score or to generate. Rows go to the data ranks in turn;
/// a rank without a row takes part with an empty batch.
class InferenceModel {
 public:
  virtual ~InferenceModel() = default;
  [[nodiscard]] virtual const cluster::Mesh& mesh() const = 0;
  [[nodiscard]] std::int64_t replicas() const { return mesh().degree(cluster::Axis::data); }
  [[nodiscard]] std::int64_t replica() const { return mesh().index(cluster::Axis::data); }
  /// Whether this rank speaks for its replica: one of the ranks that computed the same rows, on the last
  /// pipeline stage.
  [[nodiscard]] bool speaks() const {
    const bool is_last = mesh().index(cluster::Axis::pipeline) == mesh().degree(cluster::Axis::pipeline) - 1;
    return is_last && mesh().index(cluster::Axis::tensor_context) == 0;
  }
  /// Log-probabilities of the tokens behind the first of one sequence (empty: only takes part); [ids - 1], on
  /// ranks that speak.
  [[nodiscard]] virtual std::vector<float> score(const std::vector<std::int32_t>& ids) = 0;
  /// Room for `sequences` sequences of at most `capacity` tokens. The model outlives it.
  [[nodiscard]] virtual std::unique_ptr<Decoding> decode(std::int64_t sequences, std::int64_t capacity) = 0;
};

/// `longest`: tokens of the longest sequence. Collective; throws AgreedError. Without degrees from the user
/// the experts are spread over as many ranks as possible.
[[nodiscard]] std::unique_ptr<InferenceModel> load_model(OpenModel& model, const InferenceSettings& settings,
                                                         std::int64_t longest, Session& session);

}  // namespace moebius::commands
