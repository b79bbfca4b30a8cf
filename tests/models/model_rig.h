#pragma once
#include <memory>
#include <span>
#include <vector>

#include "models/decoder/decoder.h"
#include "models/models.h"

namespace moebius::test {

/// A model on this rank with everything around it: layout, weights, gradients, memory.
class ModelRig {
 public:
  using Decoder = models::Decoder<HostFp32>;

  ModelRig(const models::ModelConfig& config, parallel::Exchange<Space::host>& exchange,
           Decoder::Options options = {.longest = 512})
      : config_(config),
        exchange_(exchange),
        layout_(models::parameter_table(config), exchange.mesh()),
        weights_(layout_, weight_memory_),
        gradients_(layout_, gradient_memory_),
        decoder_(config, {weights_, exchange, activations_, workspace_}, prepared(options)) {
    clear_gradients();
  }

  void clear_gradients() { std::fill_n(gradients_.flat().data, gradients_.flat().size(), 0.0f); }

  [[nodiscard]] std::int64_t tensor() const { return exchange_.mesh().degree(cluster::Axis::tensor); }
  Decoder& decoder() { return decoder_; }
  const models::ShardLayout& layout() const { return layout_; }
  const models::Shards<float, Space::host>& weights() const { return weights_; }
  const models::Shards<float, Space::host>& gradients() const { return gradients_; }
  const models::ModelConfig& config() const { return config_; }
  Arena<Space::host>& activations() { return activations_; }
  Arena<Space::host>& workspace() { return workspace_; }

 private:
  Decoder::Options prepared(Decoder::Options options) {
    models::initialise(weights_, 7);
    return options;
  }

  models::ModelConfig config_;
  parallel::Exchange<Space::host>& exchange_;
  models::ShardLayout layout_;
  Arena<Space::host> weight_memory_{"weights"}, gradient_memory_{"gradients"};
  Arena<Space::host> activations_{"activations"}, workspace_{"workspace"};
  models::Shards<float, Space::host> weights_, gradients_;
  Decoder decoder_;
};

/// A row of pre-tokenised data: labels[i] is the token to predict at position i.
struct Row {
  std::vector<std::int32_t> ids, labels;
  std::vector<float> loss_scale;  // empty: 1
};

/// Rows end to end.
struct Packed {
  std::vector<std::int32_t> ids, positions, targets, starts{0};
  std::vector<float> scale;

  void append(const Row& row) {
    for (std::size_t i = 0; i < row.ids.size(); ++i) {
      ids.push_back(row.ids[i]);
      positions.push_back(std::int32_t(i));
      const bool is_last = i + 1 == row.ids.size();
      targets.push_back(is_last ? -100 : row.labels[i + 1]);
      scale.push_back(is_last || row.loss_scale.empty() ? 1 : row.loss_scale[i + 1]);
    }
    starts.push_back(std::int32_t(ids.size()));
  }
  [[nodiscard]] models::PackedTokens view() const { return {ids, positions, targets, starts}; }
};

/// Log-probabilities of the tokens of a row but the first.
inline std::vector<float> score(ModelRig& rig, const std::vector<Row>& rows) {
  Packed packed;
  for (const Row& row : rows) packed.append(row);
  const models::HostBatch batch(packed.view(), rig.tensor());
  ModelRig::Decoder::Saved saved(rig.activations());
  const auto hidden = rig.decoder().forward(batch.view(), ModelRig::Decoder::Keep::nothing, saved);
  std::vector<float> values(std::size_t(batch.target_count()));
  rig.decoder().log_probabilities(hidden, batch.view(), {values.data(), {batch.target_count()}});
  return values;
}

struct StepResult {
  double loss = 0, aux = 0, z = 0;
};

/// The loss of one micro batch as train_micro_batch defines it, with its aux terms, and no backward.
inline double whole_loss(ModelRig& rig, const Packed& packed, std::int64_t trained,
                         layers::AuxCoefficients coefficients) {
  const models::HostBatch batch(packed.view(), rig.tensor());
  ModelRig::Decoder::Saved saved(rig.activations());
  const auto hidden = rig.decoder().forward(batch.view(), ModelRig::Decoder::Keep::for_backward, saved);
  std::vector<float> log_probabilities(std::size_t(batch.target_count()));
  rig.decoder().log_probabilities(hidden, batch.view(), {log_probabilities.data(), {batch.target_count()}});
  const models::RouterTotals totals = rig.decoder().router_totals(saved);
  const std::vector<float> scale = batch.of_targets(packed.scale);
  double loss = coefficients.aux * totals.aux + coefficients.z * totals.z;
  for (std::size_t i = 0; i < scale.size(); ++i) {
    loss -= double(scale[i]) * double(log_probabilities[i]) / double(trained);
  }
  return loss;
}

/// One micro batch, forward and backward. Its loss is sum scale * token loss / trained, aux terms are without
/// coefficients.
inline StepResult train_micro_batch(ModelRig& rig, const Packed& packed, std::int64_t trained,
                                    layers::AuxCoefficients coefficients = {}) {
  const models::HostBatch batch(packed.view(), rig.tensor());
  ModelRig::Decoder::Saved saved(rig.activations());
  const auto hidden = rig.decoder().forward(batch.view(), ModelRig::Decoder::Keep::for_backward, saved);
  std::vector<float> weights = batch.of_targets(packed.scale);
  for (float& weight : weights) weight /= float(trained);
  const std::int64_t targets = batch.target_count();
  const auto log_probabilities = rig.activations().make<float>(targets);
  const auto dhidden = rig.activations().make<float>(hidden.shape);
  rig.decoder().loss(
      hidden, batch.view(),
      {.weights = {weights.data(), {targets}}, .log_probabilities = log_probabilities, .dhidden = dhidden},
      rig.gradients());
  rig.decoder().backward({dhidden, coefficients}, batch.view(), saved, rig.gradients());
  const models::RouterTotals totals = rig.decoder().router_totals(saved);
  StepResult result{.aux = totals.aux, .z = totals.z};
  for (std::size_t i = 0; i < weights.size(); ++i) {
    result.loss -= double(weights[i]) * double(log_probabilities(std::int64_t(i)));
  }
  return result;
}

}  // namespace moebius::test
