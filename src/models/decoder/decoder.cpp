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

}  // namespace

template <Platform P>
Decoder<P>::Decoder(const ModelConfig& config, const Parts& parts, const Options& options)
    : config_(config), parts_(parts), tables_("rotary tables"), options_(options) {
  const Mesh& mesh = parts.exchange.mesh();
  const RopeFrequencies frequencies = rope_frequencies(config);
  const View<float, 2, kSpace> cosine = tables_.template make<float>(options.longest, config.head_dim / 2);
  const View<float, 2, kSpace> sine = tables_.template make<float>(options.longest, config.head_dim / 2);
  kernels::fill_rope_table(kernels::RopeTable<kSpace>{.inverse_frequencies = frequencies.inverse,
                                                      .factor = frequencies.factor,
                                                      .cosine = cosine,
                                                      .sine = sine},
                           parts.queue);
  rope_ = {cosine, sine};

  const Bindings<const T, kSpace> bindings(parts.weights);
  const std::int64_t vocab_begin =
      balanced_part(config.vocab, mesh.degree(Axis::tensor), mesh.index(Axis::tensor)).begin;
  embedding_ = {"embedding", bindings.matrix("embedding"), vocab_begin};
  for (std::int64_t chunk = 0; chunk < options.stages.chunks(); ++chunk)
    make_chunk(mesh.index(Axis::pipeline), chunk);
  norm_ = {bindings.vector("norm"), float(config.rms_epsilon)};
  lm_head_ = {"lm_head", bindings.lm_head(), vocab_begin};
}

template <Platform P>
void Decoder<P>::make_chunk(std::int64_t stage, std::int64_t chunk) {
  Range layers = options_.stages.layers(stage, chunk);
  layers.end = std::min(layers.end, config_.layers);
  const auto is_moe = config_.is_moe_layer.begin();
  Chunk made{.layers = {std::int64_t(layers_.size()), std::int64_t(layers_.size()) + layers.size()},
             .is_first = options_.stages.is_first(stage, chunk),
             .is_last = options_.stages.is_last(stage, chunk),
             .moe_before = std::count(is_moe, is_moe + layers.begin, true),
             .moe_layers = std::count(is_moe + layers.begin, is_moe + layers.end, true),
             .moe_index = {}};
  std::int64_t moe_index = 0;
  for (std::int64_t n = layers.begin; n < layers.end; ++n) {
    made.moe_index.push_back(is_moe[n] ? moe_index++ : -1);
    layers_.push_back(make_layer(n));
  }
  chunks_.push_back(std::move(made));
}

template <Platform P>
DecoderLayer<P> Decoder<P>::make_layer(std::int64_t index) const {
  const std::string name = fmt::format("layers.{}.", index);
  const Bindings<const T, kSpace> bindings(parts_.weights, parts_.adapter);
  const float epsilon = float(config_.rms_epsilon), scale = float(options_.adapter_scale);
  const std::int64_t tensor = parts_.exchange.mesh().degree(Axis::tensor);
  DecoderLayer<P> layer{.attention_norm = {bindings.vector(name + "attention_norm"), epsilon},
                        .attention = {.name = name + "attention",
                                      .heads = divide_exactly(config_.heads, tensor),
                                      .kv_heads = divide_exactly(config_.kv_heads, tensor),
                                      .head_dim = config_.head_dim,
                                      .epsilon = epsilon,
                                      .rope = rope_,
                                      .weights = bindings.attention(name),
                                      .adapter_scale = scale},
                        .mlp_norm = {bindings.vector(name + "mlp_norm"), epsilon},
                        .name = name};
  if (config_.is_moe_layer[std::size_t(index)]) {
    layer.mlp = layers::Moe<P>{.name = name + "experts",
                               .top_k = config_.top_k,
                               .weight_sum = weight_sum_of(config_),
                               .routing = options_.routing,
                               .overlap = options_.overlap,
                               .weights = bindings.moe(name),
                               .adapter_scale = scale};
  } else {
    layer.mlp = layers::DenseMlp<P>{
        .name = name + "mlp", .weights = bindings.dense_mlp(name), .adapter_scale = scale};
  }
  return layer;
}

template <Platform P>
layers::Context<P> Decoder<P>::context_in(Arena<kSpace>& activations, kernels::Into into) {
  Arena<kSpace>& remade = options_.recompute == Recompute::selective ? parts_.remade : activations;
  return {parts_.exchange, activations, remade, parts_.workspace, parts_.staging, parts_.queue, into};
}

template <Platform P>
layers::Context<P> Decoder<P>::context_for(const TokenBatch<kSpace>& batch, Arena<kSpace>& activations,
                                           kernels::Into into) {
  layers::Context<P> context = context_in(activations, into);
  if (has_dropout() && batch.numbers.data != nullptr)
    context.dropout = {.probability = float(options_.adapter_dropout),
                       .seed = options_.dropout_seed,
                       .numbers = batch.numbers};
  return context;
}

template <Platform P>
std::int64_t Decoder<P>::tokens_here(std::int64_t tokens) const {
  return divide_exactly(tokens, parts_.exchange.mesh().degree(Axis::tensor));
}

template <Platform P>
auto Decoder<P>::next_residual(const Stream& stream, const ForwardPass& pass) -> View<T, 2, kSpace> {
  if (pass.keep == Keep::nothing) return stream.residual;
  return pass.context.activations.template make<T>(stream.residual.shape);
}

template <Platform P>
auto Decoder<P>::summed(const Stream& stream, layers::Context<P>& context) -> View<T, 2, kSpace> {
  const View<T, 2, kSpace> sum = context.activations.template make<T>(stream.residual.shape);
  kernels::add(
      kernels::Add<T, kSpace>{.a = stream.residual.flat(), .b = stream.delta.flat(), .y = sum.flat()},
      context.queue);
  return sum;
}

/// The layers of a group, in the chunk, with Recompute::full.
template <Platform P>
Range Decoder<P>::group(const Chunk& chunk, std::size_t index) const {
  const std::int64_t begin = std::int64_t(index) * options_.group_layers;
  return {begin, std::min(begin + options_.group_layers, chunk.layers.size())};
}

template <Platform P>
void Decoder<P>::forward_layer(std::int64_t index, const ForwardPass& pass, Stream& stream,
                               LayerSaved& saved) {
  const DecoderLayer<P>& one = layer(pass.chunk, index);
  tell_reading(one.name);
  layers::Context<P>& context = pass.context;
  const View<T, 2, kSpace> before = stream.has_delta ? next_residual(stream, pass) : stream.residual;
  one.attention_norm.forward({stream.residual, stream.to_add(), before}, saved.attention_norm, context);
  stream.residual = before;
  one.attention.forward(saved.attention_norm.normed, pass.batch.places, stream.delta, saved.attention,
                        context);

  const View<T, 2, kSpace> between = next_residual(stream, pass);
  one.mlp_norm.forward({stream.residual, stream.delta, between}, saved.mlp_norm, context);
  stream.residual = between;
  stream.has_delta = true;
  const std::int64_t moe_index = pass.chunk.moe_index[std::size_t(index)];
  forward_mlp(
      one,
      {.normed = saved.mlp_norm.normed,
       .positions = pass.batch.places.positions,
       .real_tokens = pass.batch.real_tokens,
       .statistics = moe_index < 0 ? View<float, 1, kSpace>{} : pass.statistics.slice(moe_index, 1).flat()},
      stream.delta, saved, context);
}

template <Platform P>
void Decoder<P>::forward_mlp(const DecoderLayer<P>& layer, const MlpInput& input, View<T, 2, kSpace> delta,
                             LayerSaved& saved, layers::Context<P>& context) {
  if (const auto* moe = std::get_if<layers::Moe<P>>(&layer.mlp)) {
    auto& kept = saved.mlp.template emplace<typename layers::Moe<P>::Saved>();
    kept.statistics = input.statistics;
    moe->forward({input.normed, input.positions, input.real_tokens}, delta, kept, context);
  } else {
    auto& kept = saved.mlp.template emplace<typename layers::DenseMlp<P>::Saved>();
    std::get<layers::DenseMlp<P>>(layer.mlp).forward(input.normed, delta, kept, context);
  }
}

template <Platform P>
void Decoder<P>::forward_layers(const ForwardPass& pass, Stream& stream, Saved& saved) {
  saved.layers_.resize(std::size_t(pass.chunk.layers.size()));
  for (std::int64_t i = 0; i < pass.chunk.layers.size(); ++i) {
    std::optional<ArenaScope<kSpace>> layer_scope, remade_scope;
    if (pass.keep == Keep::nothing) layer_scope.emplace(pass.context.activations);
    if (options_.recompute == Recompute::selective) remade_scope.emplace(pass.context.remade);
    forward_layer(i, pass, stream, saved.layers_[std::size_t(i)]);
  }
}

/// With Recompute::full: only what goes into each group is kept.
template <Platform P>
void Decoder<P>::forward_groups(const ForwardPass& pass, Stream& stream, Saved& saved) {
  layers::Context<P> dropping = context_for(pass.batch, parts_.remade);
  const ForwardPass inside{pass.chunk, pass.batch, pass.keep, pass.statistics, dropping};
  const auto groups = std::size_t(divide_up(pass.chunk.layers.size(), options_.group_layers));
  for (std::size_t g = 0; g < groups; ++g) {
    const ArenaScope scope(parts_.remade);
    saved.group_inputs_.push_back(stream.residual);
    const Range members = group(pass.chunk, g);
    for (std::int64_t i = members.begin; i < members.end; ++i) {
      LayerSaved dropped;
      forward_layer(i, inside, stream, dropped);
    }
    stream.residual = summed(stream, pass.context);
    stream.has_delta = false;
  }
}

template <Platform P>
auto Decoder<P>::forward(const TokenBatch<kSpace>& batch, Keep keep, Saved& saved, View<T, 2, kSpace> stream)
    -> View<T, 2, kSpace> {
  mark(Part::embedding, Pass::forward, parts_.queue);
  if (batch.longest > options_.longest) {
    throw std::length_error(
        fmt::format("a sample of {} tokens for a model prepared for {}", batch.longest, options_.longest));
  }
  const Chunk& chunk = chunks_[saved.chunk_];
  layers::Context<P> context = context_for(batch, saved.arena_);
  const ArenaScope scope(context.workspace);
  const std::int64_t tokens = tokens_here(batch.ids.shape[0]);
  saved.statistics_ = context.activations.template make<float>(
      chunk.moe_layers, layers::Moe<P>::statistics_size(config_.experts));
  Stream flow{.residual = stream, .delta = context.workspace.template make<T>(tokens, config_.hidden)};
  if (chunk.is_first) {
    flow.residual = context.activations.template make<T>(tokens, config_.hidden);
    tell_reading("embedding");
    embedding_.forward(batch.ids, flow.residual, context);
  }
  expect_shape("stream", flow.residual, {tokens, config_.hidden});
  const ForwardPass pass{chunk, batch, keep, saved.statistics_, context};
  const bool in_groups = keep == Keep::for_backward && options_.recompute == Recompute::full;
  in_groups ? forward_groups(pass, flow, saved) : forward_layers(pass, flow, saved);
  if (!chunk.is_last) return flow.has_delta ? summed(flow, context) : flow.residual;
  // Between forward and backward other micro batches come by: nothing may lie in `remade`.
  layers::Context<P> lasting{context.exchange,  context.activations, context.activations,
                             context.workspace, context.staging,     context.queue};
  tell_reading("norm");
  norm_.forward({flow.residual, flow.to_add(), flow.has_delta ? next_residual(flow, pass) : flow.residual},
                saved.norm_, lasting);
  return saved.norm_.normed;
}

template <Platform P>
void Decoder<P>::log_probabilities(View<const T, 2, kSpace> hidden, const TokenBatch<kSpace>& batch,
                                   View<float, 1, kSpace> log_probabilities) {
  layers::Context<P> context = context_in(parts_.activations);
  tell_reading(head_name());
  lm_head_.log_probabilities(hidden, batch.targets, log_probabilities, context);
}

template <Platform P>
void Decoder<P>::loss(View<const T, 2, kSpace> hidden, const TokenBatch<kSpace>& batch, const Loss& loss,
                      const WeightGradients<P>& gradients) {
  layers::Context<P> context = context_in(parts_.activations, gradients.into);
  tell_reading(head_name());
  lm_head_.loss(hidden, batch.targets,
                {.weights = loss.weights,
                 .log_probabilities = loss.log_probabilities,
                 .dhidden = loss.dhidden,
                 .dweight = Bindings<G, kSpace>(gradients.shards).lm_head()},
                context);
}

/// What forward did not keep; Recompute::selective.
template <Platform P>
void Decoder<P>::remake_layer(const DecoderLayer<P>& layer, const TokenBatch<kSpace>& batch,
                              LayerSaved& saved, layers::Context<P>& context) {
  layer.attention_norm.remake(saved.attention_norm, context);
  saved.attention.normed = saved.attention_norm.normed;
  layer.attention.remake(batch.places, saved.attention, context);
  layer.mlp_norm.remake(saved.mlp_norm, context);
  if (const auto* moe = std::get_if<layers::Moe<P>>(&layer.mlp)) {
    auto& kept = std::get<typename layers::Moe<P>::Saved>(saved.mlp);
    kept.normed = saved.mlp_norm.normed;
    moe->remake(kept, context);
  } else {
    auto& kept = std::get<typename layers::DenseMlp<P>::Saved>(saved.mlp);
    kept.normed = saved.mlp_norm.normed;
    std::get<layers::DenseMlp<P>>(layer.mlp).remake(kept, context);
  }
}

template <Platform P>
void Decoder<P>::backward_layer(const DecoderLayer<P>& layer, const BackwardPass& pass,
                                const LayerSaved& saved) {
  const Bindings<G, kSpace> of(pass.gradients.shards);
  const layers::BlockGradient<P> block{.ddelta = pass.dstream, .dnormed = pass.dnormed};
  const typename layers::ResidualNorm<P>::Gradient norm{
      .dnormed = pass.dnormed, .beside = pass.dstream, .dstream = pass.dstream};
  if (const auto* moe = std::get_if<layers::Moe<P>>(&layer.mlp)) {
    moe->backward(block, pass.coefficients, std::get<typename layers::Moe<P>::Saved>(saved.mlp),
                  of.moe(layer.name), pass.context);
  } else {
    std::get<layers::DenseMlp<P>>(layer.mlp).backward(
        block, std::get<typename layers::DenseMlp<P>::Saved>(saved.mlp), of.dense_mlp(layer.name),
        pass.context);
  }
  layer.mlp_norm.backward(norm, saved.mlp_norm, of.vector(layer.name + "mlp_norm"), pass.context);
  layer.attention.backward(block, pass.batch.places, saved.attention, of.attention(layer.name), pass.context);
  layer.attention_norm.backward(norm, saved.attention_norm, of.vector(layer.name + "attention_norm"),
                                pass.context);
  pass.gradients.tell(layer.name);
}

/// With Recompute::full: forward again through one group at a time.
template <Platform P>
void Decoder<P>::backward_groups(const BackwardPass& pass, const Saved& saved) {
  layers::Context<P> remaking = context_for(pass.batch, parts_.remade, pass.context.into);
  const BackwardPass inside{pass.chunk,   pass.batch,   pass.coefficients, pass.gradients,
                            pass.dstream, pass.dnormed, remaking};
  for (std::size_t g = saved.group_inputs_.size(); g-- > 0;) {
    const ArenaScope scope(parts_.remade), workspace_scope(parts_.workspace);
    const ForwardPass again{pass.chunk, pass.batch, Keep::for_backward,
                            parts_.remade.template make<float>(saved.statistics_.shape), remaking};
    Stream stream{.residual = saved.group_inputs_[g],
                  .delta = parts_.workspace.template make<T>(saved.group_inputs_[g].shape)};
    const Range members = group(pass.chunk, g);
    std::vector<LayerSaved> kept(std::size_t(members.size()));
    for (std::int64_t i = members.begin; i < members.end; ++i)
      forward_layer(i, again, stream, kept[std::size_t(i - members.begin)]);
    for (std::int64_t i = members.end; i-- > members.begin;)
      backward_layer(layer(pass.chunk, i), inside, kept[std::size_t(i - members.begin)]);
  }
}

template <Platform P>
void Decoder<P>::backward(const OutputGradient& output, const TokenBatch<kSpace>& batch, Saved& saved,
                          const WeightGradients<P>& gradients) {
  mark(Part::norms, Pass::backward, parts_.queue);
  const Chunk& chunk = chunks_[saved.chunk_];
  layers::Context<P> context = context_for(batch, saved.arena_, gradients.into);
  context.later = gradients.later;
  const ArenaScope scope(context.workspace);
  const Bindings<G, kSpace> of(gradients.shards);
  const BackwardPass pass{.chunk = chunk,
                          .batch = batch,
                          .coefficients = output.coefficients,
                          .gradients = gradients,
                          .dstream = output.dhidden,
                          .dnormed = context.workspace.template make<T>(output.dhidden.shape),
                          .context = context};
  if (chunk.is_last) {
    norm_.backward({.dnormed = output.dhidden, .beside = {}, .dstream = pass.dstream}, saved.norm_,
                   of.vector("norm"), context);
    gradients.tell("norm");
    if (!config_.tied_embeddings) gradients.tell("lm_head");  // since the loss
  }
  if (options_.recompute == Recompute::full) {
    backward_groups(pass, saved);
  } else {
    for (std::int64_t i = chunk.layers.size(); i-- > 0;) {
      std::optional<ArenaScope<kSpace>> remade_scope;
      LayerSaved& kept = saved.layers_[std::size_t(i)];
      if (options_.recompute == Recompute::selective) {
        remade_scope.emplace(context.remade);
        remake_layer(layer(chunk, i), batch, kept, context);
      }
      backward_layer(layer(chunk, i), pass, kept);
    }
  }
  const View<G, 2, kSpace> dtable = of.matrix("embedding");
  if (!chunk.is_first || dtable.data == nullptr) return;
  context.later = nullptr;
  // Tied, and the whole model here: the output projection has written the table's gradient already.
  const bool head_is_here = chunks_.back().is_last;
  const kernels::Into into = config_.tied_embeddings && head_is_here ? kernels::Into::add : gradients.into;
  embedding_.backward(batch.ids, pass.dstream, dtable, into, context);
}

template <Platform P>
View<const float, 2, Space::host> Decoder<P>::router_statistics(const Saved& saved) {
  const View<float, 2, Space::host> values = parts_.staging.template make<float>(saved.statistics_.shape);
  download<float, kSpace>(saved.statistics_.flat(), values.flat(), parts_.queue);
  return values;
}

template <Platform P>
RouterTotals Decoder<P>::no_router_totals() const {
  const auto moe_layers = std::size_t(std::ranges::count(config_.is_moe_layer, true));
  RouterTotals totals;
  totals.expert_tokens.assign(moe_layers, std::vector<double>(std::size_t(config_.experts)));
  return totals;
}

template <Platform P>
void Decoder<P>::add_router_totals(View<const float, 2, Space::host> statistics, std::int64_t chunk,
                                   std::int64_t real_tokens, RouterTotals& totals) const {
  const Chunk& of = chunks_[std::size_t(chunk)];
  for (std::int64_t index = 0; index < of.moe_layers; ++index) {
    const layers::RouterReport report =
        layers::report(statistics.slice(index, 1).flat(), real_tokens, config_.top_k);
    totals.aux += report.aux;
    totals.z += report.z;
    std::vector<double>& tokens = totals.expert_tokens[std::size_t(of.moe_before + index)];
    for (std::size_t e = 0; e < tokens.size(); ++e) tokens[e] += report.expert_tokens[e];
  }
}

template <Platform P>
layers::KvCache<P> Decoder<P>::make_cache(std::int64_t sequences, std::int64_t capacity,
                                          Arena<kSpace>& arena) const {
  if (capacity > options_.longest) {
    throw std::length_error(
        fmt::format("a cache of {} tokens for a model prepared for {}", capacity, options_.longest));
  }
  return {{.layers = std::int64_t(layers_.size()),
           .sequences = sequences,
           .capacity = capacity,
           .columns = divide_exactly(config_.kv_heads, parts_.exchange.mesh().degree(Axis::tensor)) *
                      config_.head_dim},
          arena};
}

template <Platform P>
void Decoder<P>::decode(std::span<const std::vector<std::int32_t>> new_tokens, layers::KvCache<P>& cache,
                        View<float, 2, kSpace> logits) {
  layers::Context<P> context = context_in(parts_.activations);
  const ArenaScope workspace_scope(context.workspace), activations_scope(context.activations);
  std::vector<std::int32_t> ids, last_rows;
  std::vector<std::int64_t> counts;
  for (const std::vector<std::int32_t>& tokens : new_tokens) {
    ids.insert(ids.end(), tokens.begin(), tokens.end());
    counts.push_back(std::int64_t(tokens.size()));
    last_rows.push_back(tokens.empty() ? -1 : std::int32_t(ids.size()) - 1);
  }
  const std::int64_t tensor = context.degree(Axis::tensor), real_tokens = std::int64_t(ids.size());
  ids.resize(std::size_t(std::max(round_up(real_tokens, tensor), tensor)), 0);
  const layers::DecodeStep step = cache.grow(counts, std::int64_t(ids.size()));
  const auto placed = [&](const std::vector<std::int32_t>& values) {
    return moebius::placed<std::int32_t>(values, context.workspace, context.staging, context.queue);
  };
  const layers::CachedPlaces<kSpace> places{.positions = placed(step.positions),
                                            .cache_rows = placed(step.cache_rows),
                                            .segments = {.query_starts = placed(step.query_starts),
                                                         .key_starts = placed(step.key_starts),
                                                         .key_counts = placed(step.key_counts)}};

  const std::int64_t tokens = tokens_here(std::int64_t(ids.size()));
  Stream stream{.residual = context.activations.template make<T>(tokens, config_.hidden),
                .delta = context.workspace.template make<T>(tokens, config_.hidden)};
  const Chunk& chunk = chunks_.front();
  if (chunk.is_first) {
    embedding_.forward(placed(ids), stream.residual, context);
  } else {
    move_stream({.from = stage() - 1, .received = stream.residual.flat()});
  }
  decode_layers({places, real_tokens, cache, context}, stream);
  if (chunk.is_last) {
    typename layers::ResidualNorm<P>::Saved last;
    norm_.forward({stream.residual, stream.to_add(), stream.residual}, last, context);
    lm_head_.logits(last.normed, placed(last_rows), logits, context);
  } else {
    move_stream({.to = stage() + 1, .sent = summed(stream, context).flat()});
    kernels::fill<float>(logits.flat(), 0, context.queue);
  }
  context.exchange.all_reduce({Axis::pipeline, "logits"}, logits.flat(), parallel::Reduction::sum,
                              context.queue);
}

template <Platform P>
void Decoder<P>::move_stream(const parallel::Messages<T, kSpace>& messages) {
  parts_.exchange.template start_messages<T>({Axis::pipeline, "stream"}, messages, parts_.queue)
      .wait(parts_.queue);
}

template <Platform P>
void Decoder<P>::decode_layers(const DecodePass& pass, Stream& stream) {
  layers::Context<P>& context = pass.context;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const ArenaScope scope(context.activations);
    const DecoderLayer<P>& layer = layers_[i];
    LayerSaved saved;
    layer.attention_norm.forward({stream.residual, stream.to_add(), stream.residual}, saved.attention_norm,
                                 context);
    layer.attention.decode(saved.attention_norm.normed, pass.places, pass.cache.layer(std::int64_t(i)),
                           stream.delta, context);
    stream.has_delta = true;
    layer.mlp_norm.forward({stream.residual, stream.delta, stream.residual}, saved.mlp_norm, context);
    const std::int64_t statistics = layers::Moe<P>::statistics_size(config_.experts);
    forward_mlp(layer,
                {.normed = saved.mlp_norm.normed,
                 .positions = pass.places.positions,
                 .real_tokens = {.here = pass.real_tokens, .of_micro_batch = pass.real_tokens},
                 .statistics = context.activations.template make<float>(statistics)},
                stream.delta, saved, context);
  }
}

#define INSTANTIATE(P) template class Decoder<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::models
