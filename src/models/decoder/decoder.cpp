#include "models/decoder/decoder.h"

#include <algorithm>
#include <fmt/format.h>
#include <stdexcept>

#include "kernels/attention/rope_table.h"
#include "models/decoder/bindings.h"
#include "models/rope.h"

namespace moebius::models {
namespace {

/// Values in host memory, where the platform's kernels can read them.
View<const std::int32_t, 1, Space::host> placed(const std::vector<std::int32_t>& values,
                                                Arena<Space::host>& arena) {
  const auto view = arena.make<std::int32_t>(std::int64_t(values.size()));
  std::ranges::copy(values, view.data);
  return view;
}

kernels::WeightSum weight_sum_of(const ModelConfig& config) {
  return config.topk_weights == ModelConfig::TopkWeights::sum_to_one ? kernels::WeightSum::sum_to_one
                                                                     : kernels::WeightSum::as_is;
}

void expect_buildable(const Mesh& mesh) {
  for (const Axis axis : {Axis::context, Axis::pipeline, Axis::expert_tensor}) {
    if (mesh.degree(axis) > 1) {
      throw std::logic_error("a decoder cannot be split over the axis " + cluster::name_of(axis));
    }
  }
}

}  // namespace

template <Platform P>
Decoder<P>::Decoder(const ModelConfig& config, const Parts& parts, const Options& options)
    : config_(config),
      context_{parts.exchange, parts.activations, parts.workspace, parts.queue},
      tables_("rotary tables"),
      longest_(options.longest) {
  const Mesh& mesh = parts.exchange.mesh();
  expect_buildable(mesh);
  const RopeFrequencies frequencies = rope_frequencies(config);
  const View<float, 2, kSpace> cosine = tables_.template make<float>(options.longest, config.head_dim / 2);
  const View<float, 2, kSpace> sine = tables_.template make<float>(options.longest, config.head_dim / 2);
  kernels::fill_rope_table(kernels::RopeTable<kSpace>{.inverse_frequencies = frequencies.inverse,
                                                      .factor = frequencies.factor,
                                                      .cosine = cosine,
                                                      .sine = sine},
                           context_.queue);
  rope_ = {cosine, sine};

  const Bindings<const T, kSpace> bindings(parts.weights);
  const std::int64_t vocab_begin =
      balanced_part(config.vocab, mesh.degree(Axis::tensor), mesh.index(Axis::tensor)).begin;
  embedding_ = {"embedding", bindings.matrix("embedding"), vocab_begin};
  for (std::int64_t n = 0; n < config.layers; ++n) layers_.push_back(make_layer(n, parts.weights, options));
  norm_ = {bindings.vector("norm"), float(config.rms_epsilon)};
  lm_head_ = {"lm_head", bindings.lm_head(), vocab_begin};
}

template <Platform P>
DecoderLayer<P> Decoder<P>::make_layer(std::int64_t index, const Shards<T, kSpace>& weights,
                                       const Options& options) const {
  const std::string name = fmt::format("layers.{}.", index);
  const Bindings<const T, kSpace> bindings(weights);
  const float epsilon = float(config_.rms_epsilon);
  const std::int64_t tensor = context_.degree(Axis::tensor);
  DecoderLayer<P> layer{.attention_norm = {bindings.vector(name + "attention_norm"), epsilon},
                        .attention = {.name = name + "attention",
                                      .heads = divide_exactly(config_.heads, tensor),
                                      .kv_heads = divide_exactly(config_.kv_heads, tensor),
                                      .head_dim = config_.head_dim,
                                      .epsilon = epsilon,
                                      .rope = rope_,
                                      .weights = bindings.attention(name)},
                        .mlp_norm = {bindings.vector(name + "mlp_norm"), epsilon},
                        .name = name};
  if (config_.is_moe_layer[std::size_t(index)]) {
    layer.mlp = layers::Moe<P>{.name = name + "experts",
                               .top_k = config_.top_k,
                               .weight_sum = weight_sum_of(config_),
                               .routing = options.routing,
                               .weights = bindings.moe(name)};
  } else {
    layer.mlp = layers::DenseMlp<P>{.name = name + "mlp", .weights = bindings.dense_mlp(name)};
  }
  return layer;
}

template <Platform P>
std::int64_t Decoder<P>::tokens_here(std::int64_t tokens) const {
  return divide_exactly(tokens, context_.degree(Axis::tensor));
}

template <Platform P>
auto Decoder<P>::next_residual(const Stream& stream, Keep keep) -> View<T, 2, kSpace> {
  if (keep == Keep::nothing) return stream.residual;
  return context_.activations.template make<T>(stream.residual.shape);
}

template <Platform P>
void Decoder<P>::forward_layer(const DecoderLayer<P>& layer, const TokenBatch<kSpace>& batch, Keep keep,
                               Stream& stream, typename DecoderLayer<P>::Saved& saved) {
  const bool is_first = &layer == layers_.data();
  const View<T, 2, kSpace> before = is_first ? stream.residual : next_residual(stream, keep);
  const View<const T, 2, kSpace> delta =
      is_first ? View<const T, 2, kSpace>{} : View<const T, 2, kSpace>(stream.delta);
  layer.attention_norm.forward({stream.residual, delta, before}, saved.attention_norm, context_);
  stream.residual = before;
  layer.attention.forward(saved.attention_norm.normed, batch.places, stream.delta, saved.attention, context_);

  const View<T, 2, kSpace> between = next_residual(stream, keep);
  layer.mlp_norm.forward({stream.residual, stream.delta, between}, saved.mlp_norm, context_);
  stream.residual = between;
  forward_mlp(layer, batch.real_tokens, stream.delta, saved);
}

template <Platform P>
void Decoder<P>::forward_mlp(const DecoderLayer<P>& layer, std::int64_t real_tokens, View<T, 2, kSpace> delta,
                             typename DecoderLayer<P>::Saved& saved) {
  if (const auto* moe = std::get_if<layers::Moe<P>>(&layer.mlp)) {
    auto& kept = saved.mlp.template emplace<typename layers::Moe<P>::Saved>();
    moe->forward(saved.mlp_norm.normed, real_tokens, delta, kept, context_);
  } else {
    auto& kept = saved.mlp.template emplace<typename layers::DenseMlp<P>::Saved>();
    std::get<layers::DenseMlp<P>>(layer.mlp).forward(saved.mlp_norm.normed, delta, kept, context_);
  }
}

template <Platform P>
auto Decoder<P>::forward(const TokenBatch<kSpace>& batch, Keep keep, Saved& saved)
    -> View<const T, 2, kSpace> {
  if (batch.longest > longest_) {
    throw std::length_error(
        fmt::format("a sample of {} tokens for a model prepared for {}", batch.longest, longest_));
  }
  const ArenaScope scope(context_.workspace);
  const std::int64_t tokens = tokens_here(batch.ids.shape[0]);
  Stream stream{.residual = context_.activations.template make<T>(tokens, config_.hidden),
                .delta = context_.workspace.template make<T>(tokens, config_.hidden)};
  embedding_.forward(batch.ids, stream.residual, context_);
  saved.layers_.resize(layers_.size());
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    std::optional<ArenaScope<kSpace>> layer_scope;
    if (keep == Keep::nothing) layer_scope.emplace(context_.activations);
    forward_layer(layers_[i], batch, keep, stream, saved.layers_[i]);
  }
  norm_.forward({stream.residual, stream.delta, next_residual(stream, keep)}, saved.norm_, context_);
  return saved.norm_.normed;
}

template <Platform P>
void Decoder<P>::log_probabilities(View<const T, 2, kSpace> hidden, const TokenBatch<kSpace>& batch,
                                   View<float, 1, kSpace> log_probabilities) {
  lm_head_.log_probabilities(hidden, batch.targets, log_probabilities, context_);
}

template <Platform P>
void Decoder<P>::loss(View<const T, 2, kSpace> hidden, const TokenBatch<kSpace>& batch, const Loss& loss,
                      const Shards<float, kSpace>& gradients) {
  lm_head_.loss(hidden, batch.targets,
                {.weights = loss.weights,
                 .log_probabilities = loss.log_probabilities,
                 .dhidden = loss.dhidden,
                 .dweight = Bindings<float, kSpace>(gradients).lm_head()},
                context_);
}

template <Platform P>
void Decoder<P>::backward_layer(const DecoderLayer<P>& layer, const BackwardPass& pass,
                                const typename DecoderLayer<P>::Saved& saved) {
  const Bindings<float, kSpace> of(pass.gradients);
  const layers::BlockGradient<P> block{.ddelta = pass.dstream, .dnormed = pass.dnormed};
  const typename layers::ResidualNorm<P>::Gradient norm{
      .dnormed = pass.dnormed, .beside = pass.dstream, .dstream = pass.dstream};
  if (const auto* moe = std::get_if<layers::Moe<P>>(&layer.mlp)) {
    moe->backward(block, pass.coefficients, std::get<typename layers::Moe<P>::Saved>(saved.mlp),
                  of.moe(layer.name), context_);
  } else {
    std::get<layers::DenseMlp<P>>(layer.mlp).backward(
        block, std::get<typename layers::DenseMlp<P>::Saved>(saved.mlp), of.dense_mlp(layer.name), context_);
  }
  layer.mlp_norm.backward(norm, saved.mlp_norm, of.vector(layer.name + "mlp_norm"), context_);
  layer.attention.backward(block, pass.batch.places, saved.attention, of.attention(layer.name), context_);
  layer.attention_norm.backward(norm, saved.attention_norm, of.vector(layer.name + "attention_norm"),
                                context_);
}

template <Platform P>
void Decoder<P>::backward(const OutputGradient& output, const TokenBatch<kSpace>& batch, const Saved& saved,
                          const Shards<float, kSpace>& gradients) {
  const ArenaScope scope(context_.workspace);
  const Bindings<float, kSpace> of(gradients);
  const BackwardPass pass{.batch = batch,
                          .coefficients = output.coefficients,
                          .gradients = gradients,
                          .dstream = output.dhidden,
                          .dnormed = context_.workspace.template make<T>(output.dhidden.shape)};
  norm_.backward({.dnormed = output.dhidden, .beside = {}, .dstream = pass.dstream}, saved.norm_,
                 of.vector("norm"), context_);
  for (std::size_t i = layers_.size(); i-- > 0;) backward_layer(layers_[i], pass, saved.layers_[i]);
  embedding_.backward(batch.ids, pass.dstream, of.matrix("embedding"), context_);
}

template <Platform P>
RouterTotals Decoder<P>::router_totals(const Saved& saved) const {
  RouterTotals totals;
  for (const auto& layer : saved.layers_) {
    const auto* moe = std::get_if<typename layers::Moe<P>::Saved>(&layer.mlp);
    if (moe == nullptr) continue;
    layers::RouterReport report = layers::report<P>(*moe, config_.top_k);
    totals.aux += report.aux;
    totals.z += report.z;
    totals.expert_tokens.push_back(std::move(report.expert_tokens));
  }
  return totals;
}

template <Platform P>
layers::KvCache<P> Decoder<P>::make_cache(std::int64_t sequences, std::int64_t capacity,
                                          Arena<kSpace>& arena) const {
  if (capacity > longest_) {
    throw std::length_error(
        fmt::format("a cache of {} tokens for a model prepared for {}", capacity, longest_));
  }
  return {{.layers = config_.layers,
           .sequences = sequences,
           .capacity = capacity,
           .columns = divide_exactly(config_.kv_heads, context_.degree(Axis::tensor)) * config_.head_dim},
          arena};
}

template <Platform P>
void Decoder<P>::decode(std::span<const std::vector<std::int32_t>> new_tokens, layers::KvCache<P>& cache,
                        View<float, 2, kSpace> logits) {
  const ArenaScope workspace_scope(context_.workspace), activations_scope(context_.activations);
  std::vector<std::int32_t> ids, last_rows;
  std::vector<std::int64_t> counts;
  for (const std::vector<std::int32_t>& tokens : new_tokens) {
    ids.insert(ids.end(), tokens.begin(), tokens.end());
    counts.push_back(std::int64_t(tokens.size()));
    last_rows.push_back(tokens.empty() ? -1 : std::int32_t(ids.size()) - 1);
  }
  const std::int64_t tensor = context_.degree(Axis::tensor), real_tokens = std::int64_t(ids.size());
  ids.resize(std::size_t(std::max(round_up(real_tokens, tensor), tensor)), 0);
  const layers::DecodeStep step = cache.grow(counts, std::int64_t(ids.size()));
  Arena<kSpace>& lists = context_.workspace;
  const layers::CachedPlaces<kSpace> places{.positions = placed(step.positions, lists),
                                            .cache_rows = placed(step.cache_rows, lists),
                                            .segments = {.query_starts = placed(step.query_starts, lists),
                                                         .key_starts = placed(step.key_starts, lists),
                                                         .key_counts = placed(step.key_counts, lists)}};

  const std::int64_t tokens = tokens_here(std::int64_t(ids.size()));
  const View<T, 2, kSpace> residual = context_.activations.template make<T>(tokens, config_.hidden);
  const View<T, 2, kSpace> delta = context_.workspace.template make<T>(tokens, config_.hidden);
  embedding_.forward(placed(ids, lists), residual, context_);
  View<const T, 2, kSpace> added;  // what the next norm adds to the stream
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const ArenaScope scope(context_.activations);
    const DecoderLayer<P>& layer = layers_[i];
    typename DecoderLayer<P>::Saved saved;
    layer.attention_norm.forward({residual, added, residual}, saved.attention_norm, context_);
    layer.attention.decode(saved.attention_norm.normed, places, cache.layer(std::int64_t(i)), delta,
                           context_);
    added = delta;
    layer.mlp_norm.forward({residual, added, residual}, saved.mlp_norm, context_);
    forward_mlp(layer, real_tokens, delta, saved);
  }
  typename layers::ResidualNorm<P>::Saved last;
  norm_.forward({residual, added, residual}, last, context_);
  lm_head_.logits(last.normed, placed(last_rows, lists), logits, context_);
}

template class Decoder<HostFp32>;

}  // namespace moebius::models
