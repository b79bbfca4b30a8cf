#pragma once
#include <memory>
#include <span>
#include <vector>

#include "kernels/update/elementwise.h"
#include "kernels/update/fill_normal.h"
#include "models/adapter.h"
#include "models/decoder/decoder.h"
#include "models/models.h"

namespace moebius::test {

/// A model on this rank with everything around it: layout, weights, gradients, memory. With an adapter,
/// layout, weights and gradients are those of its factors.
template <Platform P>
class Rig {
 public:
  using Decoder = models::Decoder<P>;
  using Options = typename Decoder::Options;
  static constexpr Space kSpace = P::kSpace;
  using G = typename P::Gradient;

  Rig(const models::ModelConfig& config, parallel::Exchange<kSpace>& exchange,
      Options options = {.longest = 512}, Queue<kSpace> queue = {},
      const std::optional<models::AdapterSettings>& adapter = {})
      : config_(config),
        exchange_(exchange),
        queue_(queue),
        model_layout_(models::parameter_table(config), exchange.mesh(), options.stages),
        layout_(adapter ? models::adapter_table(model_layout_.table(), *adapter) : model_layout_.table(),
                exchange.mesh(), options.stages),
        model_weights_(model_layout_, weight_memory_),
        weights_(adapter ? models::Shards<typename P::Storage, kSpace>(layout_, weight_memory_)
                         : model_weights_),
        gradients_(layout_, gradient_memory_),
        decoder_(config,
                 {.weights = model_weights_,
                  .exchange = exchange,
                  .activations = activations_,
                  .remade = remade_,
                  .workspace = workspace_,
                  .staging = staging_,
                  .queue = queue,
                  .adapter = adapter ? &weights_ : nullptr},
                 prepared(options, adapter)) {
    clear_gradients();
  }

  void clear_gradients() { kernels::fill(gradients_.flat(), G(0.0f), queue_); }

  [[nodiscard]] models::TokenShare token_share() const {
    return models::token_share<kSpace>(exchange_.mesh());
  }
  Decoder& decoder() { return decoder_; }
  const models::ShardLayout& layout() const { return layout_; }
  const models::Shards<typename P::Storage, kSpace>& weights() const { return weights_; }
  const models::Shards<typename P::Storage, kSpace>& model_weights() const { return model_weights_; }
  const models::Shards<G, kSpace>& gradients() const { return gradients_; }
  const models::ModelConfig& config() const { return config_; }
  Arena<kSpace>& activations() { return activations_; }
  Arena<kSpace>& remade() { return remade_; }
  Arena<kSpace>& workspace() { return workspace_; }
  Staging<kSpace>& staging() { return staging_; }
  [[nodiscard]] Queue<kSpace> queue() const { return queue_; }
  /// A host copy of the gradients, gaps included.
  [[nodiscard]] std::vector<float> host_gradients() {
    const View<G, 1, Space::host> staged = staging_.template make<G>(gradients_.flat().size());
    download<G, kSpace>(gradients_.flat(), staged, queue_);
    wait(queue_);
    std::vector<float> values;
    for (std::int64_t i = 0; i < staged.size(); ++i) values.push_back(float(staged(i)));
    return values;
  }

 private:
  Options prepared(Options options, const std::optional<models::AdapterSettings>& adapter) {
    models::initialise<typename P::Storage, kSpace>(model_weights_, 7, queue_);
    if (!adapter) return options;
    options.adapter_scale = adapter->scale();
    options.adapter_dropout = adapter->dropout;
    models::initialise<typename P::Storage, kSpace>(weights_, 8, queue_);
    // b too, as after some training: a's gradients are not zeros then.
    for (std::size_t i = 1; i < layout_.count(); i += 2) {
      kernels::fill_normal(
          kernels::FillNormal<typename P::Storage, kSpace>{
              .y = weights_[i], .seed = 8, .tensor = tensor_id(layout_.table()[i].name), .deviation = 0.1},
          queue_);
    }
    return options;
  }

  models::ModelConfig config_;
  parallel::Exchange<kSpace>& exchange_;
  Queue<kSpace> queue_;
  models::ShardLayout model_layout_, layout_;
  Arena<kSpace> weight_memory_{"weights"}, gradient_memory_{"gradients"};
  Arena<kSpace> activations_{"activations"}, remade_{"remade"}, workspace_{"workspace"};
  Staging<kSpace> staging_{"staging"};
  models::Shards<typename P::Storage, kSpace> model_weights_, weights_;
  models::Shards<G, kSpace> gradients_;
  Decoder decoder_;
};
using ModelRig = Rig<HostFp32>;

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
template <Platform P>
std::vector<float> score(Rig<P>& rig, const std::vector<Row>& rows) {
  constexpr Space S = P::kSpace;
  using Decoder = typename Rig<P>::Decoder;
  Packed packed;
  for (const Row& row : rows) packed.append(row);
  const models::HostBatch host(packed.view(), rig.token_share());
  typename Decoder::Saved saved(rig.decoder());
  const auto batch = host.placed<S>(rig.activations(), rig.staging(), rig.queue());
  const auto hidden = rig.decoder().forward(batch, Decoder::Keep::nothing, saved);
  const auto values = rig.activations().template make<float>(host.target_count());
  rig.decoder().log_probabilities(hidden, batch, values);
  const auto staged = rig.staging().template make<float>(values.size());
  download<float, S>(values, staged, rig.queue());
  wait(rig.queue());
  return {staged.data, staged.data + staged.size()};
}

struct StepResult {
  double loss = 0, aux = 0, z = 0;
};

/// What dropout needs to know of the tokens, where there is dropout.
template <Platform P>
void number_tokens(Rig<P>& rig, const models::HostBatch& host, models::TokenBatch<P::kSpace>& batch) {
  if (!rig.decoder().has_dropout()) return;
  const auto numbers = placed<std::int32_t>(host.numbers(3), rig.activations(), rig.staging(), rig.queue());
  batch.numbers = {numbers.data, {host.tokens(), 2}};
}

/// The loss of one micro batch as train_micro_batch defines it, with its aux terms, and no backward.
inline double whole_loss(ModelRig& rig, const Packed& packed, std::int64_t trained,
                         layers::AuxCoefficients coefficients) {
  const models::HostBatch batch(packed.view(), rig.token_share());
  ModelRig::Decoder::Saved saved(rig.decoder());
  auto tokens = batch.view();
  number_tokens(rig, batch, tokens);
  const auto hidden = rig.decoder().forward(tokens, ModelRig::Decoder::Keep::for_backward, saved);
  std::vector<float> log_probabilities(std::size_t(batch.target_count()));
  rig.decoder().log_probabilities(hidden, batch.view(), {log_probabilities.data(), {batch.target_count()}});
  models::RouterTotals totals = rig.decoder().no_router_totals();
  rig.decoder().add_router_totals(rig.decoder().router_statistics(saved), 0,
                                  batch.real_tokens().of_micro_batch, totals);
  const std::vector<float> scale = batch.of_targets(packed.scale);
  double loss = coefficients.aux * totals.aux + coefficients.z * totals.z;
  for (std::size_t i = 0; i < scale.size(); ++i) {
    loss -= double(scale[i]) * double(log_probabilities[i]) / double(trained);
  }
  return loss;
}

/// One micro batch, forward and backward. Its loss is sum scale * token loss / trained, aux terms are without
/// coefficients.
template <Platform P>
StepResult train_micro_batch(Rig<P>& rig, const Packed& packed, std::int64_t trained,
                             layers::AuxCoefficients coefficients = {},
                             kernels::Into into = kernels::Into::add) {
  constexpr Space S = P::kSpace;
  using Decoder = typename Rig<P>::Decoder;
  const models::HostBatch host(packed.view(), rig.token_share());
  typename Decoder::Saved saved(rig.decoder());
  auto batch = host.placed<S>(rig.activations(), rig.staging(), rig.queue());
  number_tokens(rig, host, batch);
  std::vector<float> weights = host.of_targets(packed.scale);
  for (float& weight : weights) weight /= float(trained);
  const auto placed_weights = placed<float>(weights, rig.activations(), rig.staging(), rig.queue());
  const auto hidden = rig.decoder().forward(batch, Decoder::Keep::for_backward, saved);
  const auto log_probabilities = rig.activations().template make<float>(host.target_count());
  const auto dhidden = rig.activations().template make<typename P::Storage>(hidden.shape);
  const models::WeightGradients<P> gradients{rig.gradients(), into};
  rig.decoder().loss(hidden, batch,
                     {.weights = placed_weights, .log_probabilities = log_probabilities, .dhidden = dhidden},
                     gradients);
  rig.decoder().backward({dhidden, coefficients}, batch, saved, gradients);
  const auto statistics = rig.decoder().router_statistics(saved);
  const auto staged = rig.staging().template make<float>(host.target_count());
  download<float, S>(log_probabilities, staged, rig.queue());
  wait(rig.queue());
  models::RouterTotals totals = rig.decoder().no_router_totals();
  rig.decoder().add_router_totals(statistics, 0, host.real_tokens().of_micro_batch, totals);
  StepResult result{.aux = totals.aux, .z = totals.z};
  for (std::size_t i = 0; i < weights.size(); ++i) {
    result.loss -= double(weights[i]) * double(staged(std::int64_t(i)));
  }
  return result;
}

}  // namespace moebius::test
