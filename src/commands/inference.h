#pragma once
#include "commands/language.h"
#include "commands/session.h"
#include "hub/hub.h"
#include "models/decoder/decoder.h"
#include "parallel/parallel.h"

namespace moebius::commands {

/// What a command calls MODEL: its files and sizes, no weights yet.
struct OpenModel {
  hub::ModelSource source;
  models::ModelConfig config;
};
/// Collective; throws AgreedError.
[[nodiscard]] OpenModel open_model(const std::string& path, Session& session);

/// A model's weights spread over the ranks, ready to score or to generate. Rows go to the data ranks in turn;
/// a rank without a row takes part with an empty batch.
class InferenceModel {
 public:
  using Decoder = models::Decoder<HostFp32>;

  /// `longest`: tokens of the longest sequence. Collective; throws AgreedError. Without degrees from the user
  /// the experts are spread over as many ranks as possible.
  InferenceModel(OpenModel& model, const InferenceMesh& wanted, std::int64_t longest, Session& session);

  [[nodiscard]] Decoder& decoder() { return *decoder_; }
  [[nodiscard]] Arena<Space::host>& memory() { return activations_; }
  [[nodiscard]] std::int64_t tensor_degree() const { return exchange_->mesh().degree(cluster::Axis::tensor); }
  [[nodiscard]] std::int64_t replicas() const { return exchange_->mesh().degree(cluster::Axis::data); }
  [[nodiscard]] std::int64_t replica() const { return exchange_->mesh().index(cluster::Axis::data); }
  /// Whether this rank speaks for its replica: one of the ranks that computed the same rows.
  [[nodiscard]] bool speaks() const { return exchange_->mesh().index(cluster::Axis::tensor) == 0; }
  /// Log-probabilities of the tokens behind the first of one sequence (empty: only takes part); [ids - 1].
  [[nodiscard]] std::vector<float> score(const std::vector<std::int32_t>& ids);

 private:
  models::ParameterTable table_;
  std::unique_ptr<parallel::Exchange<Space::host>> exchange_;
  Arena<Space::host> weight_memory_{"weights"}, activations_{"activations"}, workspace_{"workspace"};
  std::optional<models::ShardLayout> layout_;
  std::optional<models::Shards<float, Space::host>> weights_;
  std::optional<Decoder> decoder_;
};

}  // namespace moebius::commands
