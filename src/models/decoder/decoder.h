#pragma once
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "layers/layers.h"
#include "models/batch.h"
#include "models/config.h"
#include "models/decoder/recompute.h"
#include "models/shards.h"

namespace moebius::models {

/// One layer of a decoder: its parts in the order of the computation.
template <Platform P>
struct DecoderLayer {
  layers::ResidualNorm<P> attention_norm;
  layers::Attention<P> attention;
  layers::ResidualNorm<P> mlp_norm;
  std::variant<layers::DenseMlp<P>, layers::Moe<P>> mlp;
  std::string name;  // "layers.3.", what its parameters begin with

  struct Saved {
    typename layers::ResidualNorm<P>::Saved attention_norm, mlp_norm;
    typename layers::Attention<P>::Saved attention;
    std::variant<typename layers::DenseMlp<P>::Saved, typename layers::Moe<P>::Saved> mlp;
  };
};

/// What the routers of all MoE layers did with one micro batch; the same on its tensor and context ranks.
struct RouterTotals {
  double aux = 0, z = 0;                           // summed over layers, without coefficients
  std::vector<std::vector<double>> expert_tokens;  // [MoE layers][experts]
};

/// Where the gradients of weights go, and whether this micro batch is the first to write them.
template <Platform P>
struct WeightGradients {
  const Shards<typename P::Gradient, P::kSpace>& shards;
  kernels::Into into = kernels::Into::add;
  layers::WeightProducts<P>* later = nullptr;  // where backward leaves the large products of the layers
  /// Told the beginning of the names of weights whose gradients backward has queued; empty: nobody asks. Of
  /// the embedding it tells nothing: it is the last, and then all are.
  std::function<void(std::string_view names)> done = {};

  void tell(const std::string& names) const {
    if (!done) return;
    if (later == nullptr) return done(names);
    later->then([told = done, names] { told(names); });
  }
};

/// A decoder-only language model on this rank: what all families of models/ run. One micro batch goes
///
///   forward                    ids -> last hidden states; `saved` keeps what backward needs
///   log_probabilities          of the targets, without gradient; or
///   loss                       of the targets, with the gradient in the hidden states and in the output head
///   backward                   gradient in the hidden states -> gradients of all weights, added up
///
/// or, to generate, decode step after step with a KvCache. Every call is collective over the ranks that share
/// the micro batch (tensor, context) or its experts (expert); ranks without data pass a batch of padding.
/// Tokens of hidden states and targets are those of this context rank; decoding has whole sequences on each.
///
/// On a pipeline a rank has the layers of its stage, in one or more chunks, each of which does one part of
/// this: forward takes the residual stream that the chunk before has left in place of ids, and leaves one in
/// place of the last hidden states; backward passes the gradient in it the other way. Moving them between
/// ranks is the caller's (objectives/); decode does it itself.
template <Platform P>
class Decoder {
 public:
  using T = typename P::Storage;
  using G = typename P::Gradient;
  static constexpr Space kSpace = P::kSpace;

  /// What a decoder works with; all of it outlives the decoder.
  struct Parts {
    const Shards<T, kSpace>& weights;
    parallel::Exchange<kSpace>& exchange;
    Arena<kSpace>& activations;  // what Saved holds, unless it is given an arena of its own
    Arena<kSpace>& remade;       // what a layer, or a group of layers, makes again; empty between calls
    Arena<kSpace>& workspace;    // empty between calls
    Staging<kSpace>& staging;    // grows until the caller, having waited, releases it
    Queue<kSpace> queue = {};
    /// Told the beginning of the names of weights before forward queues what reads them; empty: nobody asks.
    /// Backward reads what forward has read.
    std::function<void(std::string_view names)> before_reading = {};
    /// Factors that the weights work with (models/adapter.h); null: the weights alone.
    const Shards<T, kSpace>* adapter = nullptr;
  };
  struct Options {
    std::int64_t longest = 0;  // tokens of the longest sequence
    kernels::Routing routing = kernels::Routing::learned;
    layers::Overlap overlap = layers::Overlap::none;
    Recompute recompute = Recompute::nothing;
    std::int64_t group_layers = 1;  // with Recompute::full
    Stages stages = {};
    double adapter_scale = 1;    // of the factors' product
    double adapter_dropout = 0;  // of what goes into them, in batches with numbered tokens
    std::uint64_t dropout_seed = 0;
  };
  Decoder(const ModelConfig& config, const Parts& parts, const Options& options);

  /// What forward keeps of one micro batch in one chunk. Its memory is released on leaving the block, so
  /// Saved objects in one arena nest like blocks.
  class Saved {
   public:
    explicit Saved(Decoder& decoder) : Saved(decoder.parts_.activations) {}
    explicit Saved(Arena<kSpace>& arena, std::int64_t chunk = 0)
        : arena_(arena), scope_(arena), chunk_(std::size_t(chunk)) {}

   private:
    friend class Decoder;
    Arena<kSpace>& arena_;
    ArenaScope<kSpace> scope_;
    std::size_t chunk_;
    View<float, 2, kSpace> statistics_;                    // [MoE layers of the chunk, Moe::statistics_size]
    std::vector<View<T, 2, kSpace>> group_inputs_;         // [groups], with Recompute::full
    std::vector<typename DecoderLayer<P>::Saved> layers_;  // [layers of the chunk], otherwise
    typename layers::ResidualNorm<P>::Saved norm_;
  };
  enum class Keep : std::uint8_t { for_backward, nothing };

  /// The last hidden states, [tokens / tensor, hidden], after the final norm; or, of a chunk that is not the
  /// last, the residual stream behind it. Valid as long as `saved`. `stream`: what the chunk before returned,
  /// empty for the first; changed with Keep::nothing, otherwise kept as it is until backward.
  [[nodiscard]] View<T, 2, kSpace> forward(const TokenBatch<kSpace>& batch, Keep keep, Saved& saved,
                                           View<T, 2, kSpace> stream = {});

  /// [targets], overwritten; the same on all tensor ranks.
  void log_probabilities(View<const T, 2, kSpace> hidden, const TokenBatch<kSpace>& batch,
                         View<float, 1, kSpace> log_probabilities);

  struct Loss {                                // the loss is -sum weights * log_probabilities
    View<const float, 1, kSpace> weights;      // [targets]
    View<float, 1, kSpace> log_probabilities;  // [targets]; overwritten
    View<T, 2, kSpace> dhidden;                // [tokens / tensor, hidden]; overwritten
  };
  void loss(View<const T, 2, kSpace> hidden, const TokenBatch<kSpace>& batch, const Loss& loss,
            const WeightGradients<P>& gradients);

  struct OutputGradient {
    View<T, 2, kSpace> dhidden;  // in what forward returned; overwritten: in what it was given
    layers::AuxCoefficients coefficients;
  };
  void backward(const OutputGradient& output, const TokenBatch<kSpace>& batch, Saved& saved,
                const WeightGradients<P>& gradients);

  /// What the routers of the chunk counted, after forward with Keep::for_backward: in staging memory, to be
  /// read when the caller has waited. [MoE layers of the chunk, Moe::statistics_size]
  [[nodiscard]] View<const float, 2, Space::host> router_statistics(const Saved& saved);
  /// Of no micro batch: zeros for all MoE layers of the model.
  [[nodiscard]] RouterTotals no_router_totals() const;
  /// Adds what the statistics say of a micro batch of `real_tokens`, all context ranks together.
  void add_router_totals(View<const float, 2, Space::host> statistics, std::int64_t chunk,
                         std::int64_t real_tokens, RouterTotals& totals) const;

  /// A cache for `sequences` sequences of at most `capacity` tokens.
  [[nodiscard]] layers::KvCache<P> make_cache(std::int64_t sequences, std::int64_t capacity,
                                              Arena<kSpace>& arena) const;
  /// Appends new_tokens[s] to sequence s (none: it rests) and gives the logits after its last token:
  /// logits [sequences, vocab], on every tensor rank and every stage; zeros where a sequence rests. One chunk
  /// a stage.
  void decode(std::span<const std::vector<std::int32_t>> new_tokens, layers::KvCache<P>& cache,
              View<float, 2, kSpace> logits);

  [[nodiscard]] const ModelConfig& config() const { return config_; }
  /// Whether batches to train on need the numbers of their tokens (TokenBatch::numbers).
  [[nodiscard]] bool has_dropout() const { return parts_.adapter != nullptr && options_.adapter_dropout > 0; }
  /// Of this stage.
  [[nodiscard]] std::int64_t chunks() const { return std::int64_t(chunks_.size()); }
  [[nodiscard]] bool is_first(std::int64_t chunk) const { return chunks_[std::size_t(chunk)].is_first; }
  [[nodiscard]] bool is_last(std::int64_t chunk) const { return chunks_[std::size_t(chunk)].is_last; }
  [[nodiscard]] parallel::Exchange<kSpace>& exchange() { return parts_.exchange; }
  [[nodiscard]] Arena<kSpace>& activations() { return parts_.activations; }
  [[nodiscard]] Arena<kSpace>& workspace() { return parts_.workspace; }
  [[nodiscard]] Staging<kSpace>& staging() { return parts_.staging; }
  [[nodiscard]] Queue<kSpace> queue() const { return parts_.queue; }

 private:
  /// A part of the model that stands between two stages, or between a stage and an end of the model.
  struct Chunk {
    Range layers;  // in layers_
    bool is_first, is_last;
    std::int64_t moe_before, moe_layers;  // MoE layers of the model before it, and its own
    std::vector<std::int64_t> moe_index;  // [layers]; among its own, or -1
  };
  void make_chunk(std::int64_t stage, std::int64_t chunk);
  void tell_reading(std::string_view names) const {
    if (parts_.before_reading) parts_.before_reading(names);
  }
  [[nodiscard]] std::string_view head_name() const {
    return config_.tied_embeddings ? "embedding" : "lm_head";
  }
  [[nodiscard]] DecoderLayer<P> make_layer(std::int64_t index) const;
  [[nodiscard]] layers::Context<P> context_in(Arena<kSpace>& activations,
                                              kernels::Into into = kernels::Into::add);
  /// The same for the layers on a batch, with its dropout.
  [[nodiscard]] layers::Context<P> context_for(const TokenBatch<kSpace>& batch, Arena<kSpace>& activations,
                                               kernels::Into into = kernels::Into::add);
  using LayerSaved = typename DecoderLayer<P>::Saved;
  /// The residual stream is residual + delta, once a block has written a delta. [tokens / tensor, hidden]
  /// each
  struct Stream {
    View<T, 2, kSpace> residual, delta;
    bool has_delta = false;

    [[nodiscard]] View<const T, 2, kSpace> to_add() const { return has_delta ? delta : View<T, 2, kSpace>{}; }
  };
  struct ForwardPass {
    const Chunk& chunk;
    const TokenBatch<kSpace>& batch;
    Keep keep;
    View<float, 2, kSpace> statistics;
    layers::Context<P>& context;
  };
  /// `index`: in the chunk.
  void forward_layer(std::int64_t index, const ForwardPass& pass, Stream& stream, LayerSaved& saved);
  void forward_layers(const ForwardPass& pass, Stream& stream, Saved& saved);
  void forward_groups(const ForwardPass& pass, Stream& stream, Saved& saved);
  void remake_layer(const DecoderLayer<P>& layer, const TokenBatch<kSpace>& batch, LayerSaved& saved,
                    layers::Context<P>& context);
  [[nodiscard]] const DecoderLayer<P>& layer(const Chunk& chunk, std::int64_t index) const {
    return layers_[std::size_t(chunk.layers.begin + index)];
  }
  [[nodiscard]] Range group(const Chunk& chunk, std::size_t index) const;
  struct MlpInput {
    View<const T, 2, kSpace> normed;
    View<const std::int32_t, 1, kSpace> positions;  // [tokens]
    layers::RealTokens real_tokens;
    View<float, 1, kSpace> statistics;  // of a MoE layer
  };
  void forward_mlp(const DecoderLayer<P>& layer, const MlpInput& input, View<T, 2, kSpace> delta,
                   LayerSaved& saved, layers::Context<P>& context);
  struct DecodePass {
    const layers::CachedPlaces<kSpace>& places;
    std::int64_t real_tokens;
    const layers::KvCache<P>& cache;
    layers::Context<P>& context;
  };
  void decode_layers(const DecodePass& pass, Stream& stream);
  void move_stream(const parallel::Messages<T, kSpace>& messages);
  [[nodiscard]] std::int64_t stage() const { return parts_.exchange.mesh().index(parallel::Axis::pipeline); }
  struct BackwardPass {
    const Chunk& chunk;
    const TokenBatch<kSpace>& batch;
    layers::AuxCoefficients coefficients;
    const WeightGradients<P>& gradients;
    View<T, 2, kSpace>
        dstream;  // [tokens / tensor, hidden]; gradient in the residual stream, from layer to layer
    View<T, 2, kSpace> dnormed;  // the same shape; room
    layers::Context<P>& context;
  };
  void backward_layer(const DecoderLayer<P>& layer, const BackwardPass& pass, const LayerSaved& saved);
  void backward_groups(const BackwardPass& pass, const Saved& saved);
  /// The residual stream with delta added: a new buffer to keep, or in place.
  [[nodiscard]] static View<T, 2, kSpace> next_residual(const Stream& stream, const ForwardPass& pass);
  /// The same with its sum, in a buffer of its own.
  [[nodiscard]] static View<T, 2, kSpace> summed(const Stream& stream, layers::Context<P>& context);
  [[nodiscard]] std::int64_t tokens_here(std::int64_t tokens) const;

  ModelConfig config_;
  Parts parts_;
  Arena<kSpace> tables_;  // rotary
  layers::RopeTables<kSpace> rope_;
  layers::Embedding<P> embedding_;
  std::vector<DecoderLayer<P>> layers_;  // of this stage
  std::vector<Chunk> chunks_;
  layers::ResidualNorm<P> norm_;
  layers::LmHead<P> lm_head_;
  Options options_;
};

}  // namespace moebius::models
