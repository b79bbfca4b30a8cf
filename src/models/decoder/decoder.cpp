#include "models/decoder/decoder.h"

#include <algorithm>
#include <fmt/format.h>
#include <stdexcept>

#include "kernels/attention/rope_table.h"
#include "kernels/update/elementwise.h"
#include "models/decoder/bindings.h"
#include "models/rope.h"

namespace moebius::models {
namespace {

kernels::WeightSum weight_sum_of(const ModelConfig& config) {
  return config.topk_weights == ModelConfig::TopkWeights::sum_to_one ? kernels::WeightSum::sum_to_one
                                                                     : kernels::WeightSum::as_is;
}

void expect_buildable(const Mesh& mesh) {
  for (const Axis axis : {Axis::context, Axis::pipeline}) {
    if (mesh.degree(axis) > 1) {
      throw std::logic_error("a decoder cannot be split over the axis " + cluster::name_of(axis));
    }
  }
}

}  // namespace

template <Platform P>
Decoder<P>::Decoder(const ModelConfig& config, const Parts& parts, const Options& options)
    : config_(config),
      context_{parts.exchange, parts.activations, parts.remade, parts.workspace, parts.staging, parts.queue},
      tables_("rotary tables"),
      options_(options) {
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
std::int64_t Decoder<P>::moe_layers() const {
  return std::ranges::count(config_.is_moe_layer, true);
}

/// The layers of a group, with Recompute::full.
template <Platform P>
Range Decoder<P>::group(std::size_t index) const {
  const std::int64_t begin = std::int64_t(index) * options_.group_layers;
  return {begin, std::min(begin + options_.group_layers, config_.layers)};
}

template <Platform P>
void Decoder<P>::forward_layer(std::size_t index, const ForwardPass& pass, Stream& stream,
                               LayerSaved& saved) {
  const DecoderLayer<P>& layer = layers_[index];
  const View<T, 2, kSpace> before = stream.has_delta ? next_residual(stream, pass.keep) : stream.residual;
  layer.attention_norm.forward({stream.residual, stream.to_add(), before}, saved.attention_norm, context_);
  stream.residual = before;
  layer.attention.forward(saved.attention_norm.normed, pass.batch.places, stream.delta, saved.attention,
                          context_);

  const View<T, 2, kSpace> between = next_residual(stream, pass.keep);
  layer.mlp_norm.forward({stream.residual, stream.delta, between}, saved.mlp_norm, context_);
  stream.residual = between;
  stream.has_delta = true;
  const auto moe_before =
      std::count(config_.is_moe_layer.begin(), config_.is_moe_layer.begin() + std::ptrdiff_t(index), true);
  const bool is_moe = config_.is_moe_layer[index];
  forward_mlp(layer,
              {.normed = saved.mlp_norm.normed,
               .real_tokens = pass.batch.real_tokens,
               .statistics = is_moe ? pass.statistics.slice(moe_before, 1).flat() : View<float, 1, kSpace>{}},
              stream.delta, saved);
}

template <Platform P>
void Decoder<P>::forward_mlp(const DecoderLayer<P>& layer, const MlpInput& input, View<T, 2, kSpace> delta,
                             LayerSaved& saved) {
  if (const auto* moe = std::get_if<layers::Moe<P>>(&layer.mlp)) {
    auto& kept = saved.mlp.template emplace<typename layers::Moe<P>::Saved>();
    kept.statistics = input.statistics;
    moe->forward(input.normed, input.real_tokens, delta, kept, context_);
  } else {
    auto& kept = saved.mlp.template emplace<typename layers::DenseMlp<P>::Saved>();
    std::get<layers::DenseMlp<P>>(layer.mlp).forward(input.normed, delta, kept, context_);
  }
}

/// With Recompute::full: only what goes into each group is kept.
template <Platform P>
void Decoder<P>::forward_groups(const ForwardPass& pass, Stream& stream, Saved& saved) {
  const auto groups = std::size_t(divide_up(config_.layers, options_.group_layers));
  for (std::size_t g = 0; g < groups; ++g) {
    saved.group_inputs_.push_back(stream.residual);
    const View<T, 2, kSpace> after = context_.activations.template make<T>(stream.residual.shape);
    const ArenaScope scope(context_.activations);
    for (std::int64_t i = group(g).begin; i < group(g).end; ++i) {
      LayerSaved dropped;
      forward_layer(std::size_t(i), pass, stream, dropped);
    }
    kernels::add(
        kernels::Add<T, kSpace>{.a = stream.residual.flat(), .b = stream.delta.flat(), .y = after.flat()},
        context_.queue);
    stream.residual = after;
    stream.has_delta = false;
  }
}

template <Platform P>
auto Decoder<P>::forward(const TokenBatch<kSpace>& batch, Keep keep, Saved& saved)
    -> View<const T, 2, kSpace> {
  if (batch.longest > options_.longest) {
    throw std::length_error(
        fmt::format("a sample of {} tokens for a model prepared for {}", batch.longest, options_.longest));
  }
  mark(Part::embedding, Pass::forward, context_.queue);
  const ArenaScope scope(context_.workspace);
  const std::int64_t tokens = tokens_here(batch.ids.shape[0]);
  const std::int64_t statistics = layers::Moe<P>::statistics_size(config_.experts);
  saved.statistics_ = context_.activations.template make<float>(moe_layers(), statistics);
  Stream stream{.residual = context_.activations.template make<T>(tokens, config_.hidden),
                .delta = context_.workspace.template make<T>(tokens, config_.hidden)};
  embedding_.forward(batch.ids, stream.residual, context_);
  const ForwardPass pass{batch, keep, saved.statistics_};
  if (keep == Keep::for_backward && options_.recompute == Recompute::full) {
    forward_groups(pass, stream, saved);
  } else {
    saved.layers_.resize(layers_.size());
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      std::optional<ArenaScope<kSpace>> layer_scope, remade_scope;
      if (keep == Keep::nothing) layer_scope.emplace(context_.activations);
      if (&context_.remade != &context_.activations) remade_scope.emplace(context_.remade);
      forward_layer(i, pass, stream, saved.layers_[i]);
    }
  }
  const bool adds = stream.has_delta;
  norm_.forward({stream.residual, stream.to_add(), adds ? next_residual(stream, keep) : stream.residual},
                saved.norm_, context_);
  return saved.norm_.normed;
}

template <Platform P>
void Decoder<P>::log_probabilities(View<const T, 2, kSpace> hidden, const TokenBatch<kSpace>& batch,
                                   View<float, 1, kSpace> log_probabilities) {
  lm_head_.log_probabilities(hidden, batch.targets, log_probabilities, context_);
}

template <Platform P>
void Decoder<P>::loss(View<const T, 2, kSpace> hidden, const TokenBatch<kSpace>& batch, const Loss& loss,
                      const WeightGradients<P>& gradients) {
  context_.into = gradients.into;
  lm_head_.loss(hidden, batch.targets,
                {.weights = loss.weights,
                 .log_probabilities = loss.log_probabilities,
                 .dhidden = loss.dhidden,
                 .dweight = Bindings<G, kSpace>(gradients.shards).lm_head()},
                context_);
}

/// What forward did not keep; Recompute::selective.
template <Platform P>
void Decoder<P>::remake_layer(const DecoderLayer<P>& layer, const TokenBatch<kSpace>& batch,
                              LayerSaved& saved) {
  layer.attention_norm.remake(saved.attention_norm, context_);
  saved.attention.normed = saved.attention_norm.normed;
  layer.attention.remake(batch.places, saved.attention, context_);
  layer.mlp_norm.remake(saved.mlp_norm, context_);
  if (const auto* moe = std::get_if<layers::Moe<P>>(&layer.mlp)) {
    auto& kept = std::get<typename layers::Moe<P>::Saved>(saved.mlp);
    kept.normed = saved.mlp_norm.normed;
    moe->remake(kept, context_);
  } else {
    auto& kept = std::get<typename layers::DenseMlp<P>::Saved>(saved.mlp);
    kept.normed = saved.mlp_norm.normed;
    std::get<layers::DenseMlp<P>>(layer.mlp).remake(kept, context_);
  }
}

template <Platform P>
void Decoder<P>::backward_layer(const DecoderLayer<P>& layer, const BackwardPass& pass,
                                const LayerSaved& saved) {
  const Bindings<G, kSpace> of(pass.gradients);
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

/// With Recompute::full: forward again through one group at a time.
template <Platform P>
void Decoder<P>::backward_groups(const BackwardPass& pass, const Saved& saved) {
  for (std::size_t g = saved.group_inputs_.size(); g-- > 0;) {
    const ArenaScope scope(context_.activations), workspace_scope(context_.workspace);
    const ForwardPass again{pass.batch, Keep::for_backward,
                            context_.activations.template make<float>(saved.statistics_.shape)};
    Stream stream{.residual = saved.group_inputs_[g],
                  .delta = context_.workspace.template make<T>(saved.group_inputs_[g].shape)};
    std::vector<LayerSaved> kept(std::size_t(group(g).size()));
    for (std::int64_t i = group(g).begin; i < group(g).end; ++i)
      forward_layer(std::size_t(i), again, stream, kept[std::size_t(i - group(g).begin)]);
    for (std::int64_t i = group(g).end; i-- > group(g).begin;)
      backward_layer(layers_[std::size_t(i)], pass, kept[std::size_t(i - group(g).begin)]);
  }
}

template <Platform P>
void Decoder<P>::backward(const OutputGradient& output, const TokenBatch<kSpace>& batch, Saved& saved,
                          const WeightGradients<P>& gradients) {
  mark(Part::norms, Pass::backward, context_.queue);
  const ArenaScope scope(context_.workspace);
  context_.into = gradients.into;
  const Bindings<G, kSpace> of(gradients.shards);
  const BackwardPass pass{.batch = batch,
                          .coefficients = output.coefficients,
                          .gradients = gradients.shards,
                          .dstream = output.dhidden,
                          .dnormed = context_.workspace.template make<T>(output.dhidden.shape)};
  norm_.backward({.dnormed = output.dhidden, .beside = {}, .dstream = pass.dstream}, saved.norm_,
                 of.vector("norm"), context_);
  if (options_.recompute == Recompute::full) {
    backward_groups(pass, saved);
  } else {
    for (std::size_t i = layers_.size(); i-- > 0;) {
      const ArenaScope remade_scope(context_.remade);
      if (options_.recompute == Recompute::selective) remake_layer(layers_[i], batch, saved.layers_[i]);
      backward_layer(layers_[i], pass, saved.layers_[i]);
    }
  }
  // Tied: the output projection has written the table's gradient already.
  const kernels::Into into = config_.tied_embeddings ? kernels::Into::add : gradients.into;
  embedding_.backward(batch.ids, pass.dstream, of.matrix("embedding"), into, context_);
}

template <Platform P>
View<const float, 2, Space::host> Decoder<P>::router_statistics(const Saved& saved) {
  const View<float, 2, Space::host> values = context_.staging.template make<float>(saved.statistics_.shape);
  download<float, kSpace>(saved.statistics_.flat(), values.flat(), context_.queue);
  return values;
}

template <Platform P>
RouterTotals Decoder<P>::router_totals(View<const float, 2, Space::host> statistics,
                                       std::int64_t real_tokens) const {
  RouterTotals totals;
  for (std::int64_t layer = 0; layer < statistics.shape[0]; ++layer) {
    layers::RouterReport report =
        layers::report(statistics.slice(layer, 1).flat(), real_tokens, config_.top_k);
    totals.aux += report.aux;
    totals.z += report.z;
    totals.expert_tokens.push_back(std::move(report.expert_tokens));
  }
  return totals;
}

template <Platform P>
layers::KvCache<P> Decoder<P>::make_cache(std::int64_t sequences, std::int64_t capacity,
                                          Arena<kSpace>& arena) const {
  if (capacity > options_.longest) {
    throw std::length_error(
        fmt::format("a cache of {} tokens for a model prepared for {}", capacity, options_.longest));
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
  const auto placed = [&](const std::vector<std::int32_t>& values) {
    return moebius::placed<std::int32_t>(values, context_.workspace, context_.staging, context_.queue);
  };
  const layers::CachedPlaces<kSpace> places{.positions = placed(step.positions),
                                            .cache_rows = placed(step.cache_rows),
                                            .segments = {.query_starts = placed(step.query_starts),
                                                         .key_starts = placed(step.key_starts),
                                                         .key_counts = placed(step.key_counts)}};

  const std::int64_t tokens = tokens_here(std::int64_t(ids.size()));
  Stream stream{.residual = context_.activations.template make<T>(tokens, config_.hidden),
                .delta = context_.workspace.template make<T>(tokens, config_.hidden)};
  embedding_.forward(placed(ids), stream.residual, context_);
  decode_layers(places, real_tokens, cache, stream);
  typename layers::ResidualNorm<P>::Saved last;
  norm_.forward({stream.residual, stream.to_add(), stream.residual}, last, context_);
  lm_head_.logits(last.normed, placed(last_rows), logits, context_);
}

template <Platform P>
void Decoder<P>::decode_layers(const layers::CachedPlaces<kSpace>& places, std::int64_t real_tokens,
                               const layers::KvCache<P>& cache, Stream& stream) {
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const ArenaScope scope(context_.activations);
    const DecoderLayer<P>& layer = layers_[i];
    LayerSaved saved;
    layer.attention_norm.forward({stream.residual, stream.to_add(), stream.residual}, saved.attention_norm,
                                 context_);
    layer.attention.decode(saved.attention_norm.normed, places, cache.layer(std::int64_t(i)), stream.delta,
                           context_);
    stream.has_delta = true;
    layer.mlp_norm.forward({stream.residual, stream.delta, stream.residual}, saved.mlp_norm, context_);
    const std::int64_t statistics = layers::Moe<P>::statistics_size(config_.experts);
    forward_mlp(layer,
                {.normed = saved.mlp_norm.normed,
                 .real_tokens = real_tokens,
                 .statistics = context_.activations.template make<float>(statistics)},
                stream.delta, saved);
  }
}

#define INSTANTIATE(P) template class Decoder<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::models
