#pragma once
#include <optional>
#include <span>
#include <string>
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

/// What the routers of all MoE layers did with one micro batch; the same on its tensor ranks.
struct RouterTotals {
  double aux = 0, z = 0;                           // summed over layers, without coefficients
  std::vector<std::vector<double>> expert_tokens;  // [MoE layers][experts]
};

/// Where the gradients of weights go, and whether this micro batch is the first to write them.
template <Platform P>
struct WeightGradients {
  const Shards<typename P::Gradient, P::kSpace>& shards;
  kernels::Into into = kernels::Into::add;
};

/// A decoder-only language model on this rank: what all families of models/ run. One micro batch goes
///
///   forward                    ids -> last hidden states; `saved` keeps what backward needs
///   log_probabilities          of the targets, without gradient; or
///   loss                       of the targets, with the gradient in the hidden states and in the output head
///   backward                   gradient in the hidden states -> gradients of all weights, added up
///
/// or, to generate, decode step after step with a KvCache. Every call is collective over the ranks that share
/// the micro batch (tensor) or its experts (expert); ranks without data pass a batch of padding.
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
    Arena<kSpace>& activations;  // what Saved holds
    Arena<kSpace>& remade;  // with Recompute::selective, what one layer makes again; otherwise `activations`
    Arena<kSpace>& workspace;  // empty between calls
    Staging<kSpace>& staging;  // grows until the caller, having waited, releases it
    Queue<kSpace> queue = {};
  };
  struct Options {
    std::int64_t longest = 0;  // tokens of the longest sequence
    kernels::Routing routing = kernels::Routing::learned;
    Recompute recompute = Recompute::nothing;
    std::int64_t group_layers = 1;  // with Recompute::full
  };
  Decoder(const ModelConfig& config, const Parts& parts, const Options& options);

  /// What forward keeps. Its memory is released on leaving the block, so Saved objects nest like blocks.
  class Saved {
   public:
    explicit Saved(Decoder& decoder)
        : scope_(decoder.context_.activations), remade_scope_(decoder.context_.remade) {}

   private:
    friend class Decoder;
    ArenaScope<kSpace> scope_, remade_scope_;
    View<float, 2, kSpace> statistics_;                    // [MoE layers, Moe::statistics_size]
    std::vector<View<T, 2, kSpace>> group_inputs_;         // [groups], with Recompute::full
    std::vector<typename DecoderLayer<P>::Saved> layers_;  // [layers], otherwise
    typename layers::ResidualNorm<P>::Saved norm_;
  };
  enum class Keep : std::uint8_t { for_backward, nothing };

  /// The last hidden states, [tokens / tensor, hidden], after the final norm; valid as long as `saved`.
  [[nodiscard]] View<const T, 2, kSpace> forward(const TokenBatch<kSpace>& batch, Keep keep, Saved& saved);

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
    View<T, 2, kSpace> dhidden;  // [tokens / tensor, hidden]; used up
    layers::AuxCoefficients coefficients;
  };
  void backward(const OutputGradient& output, const TokenBatch<kSpace>& batch, Saved& saved,
                const WeightGradients<P>& gradients);

  /// What the routers counted, after forward with Keep::for_backward: in staging memory, to be read when the
  /// caller has waited. [MoE layers, Moe::statistics_size]
  [[nodiscard]] View<const float, 2, Space::host> router_statistics(const Saved& saved);
  [[nodiscard]] RouterTotals router_totals(View<const float, 2, Space::host> statistics,
                                           std::int64_t real_tokens) const;

  /// A cache for `sequences` sequences of at most `capacity` tokens.
  [[nodiscard]] layers::KvCache<P> make_cache(std::int64_t sequences, std::int64_t capacity,
                                              Arena<kSpace>& arena) const;
  /// Appends new_tokens[s] to sequence s (none: it rests) and gives the logits after its last token:
  /// logits [sequences, vocab], on every tensor rank; zeros where a sequence rests.
  void decode(std::span<const std::vector<std::int32_t>> new_tokens, layers::KvCache<P>& cache,
              View<float, 2, kSpace> logits);

  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] Arena<kSpace>& activations() { return context_.activations; }
  [[nodiscard]] Arena<kSpace>& workspace() { return context_.workspace; }
  [[nodiscard]] Staging<kSpace>& staging() { return context_.staging; }
  [[nodiscard]] Queue<kSpace> queue() const { return context_.queue; }

 private:
  [[nodiscard]] DecoderLayer<P> make_layer(std::int64_t index, const Shards<T, kSpace>& weights,
                                           const Options& options) const;
  using LayerSaved = typename DecoderLayer<P>::Saved;
  /// The residual stream is residual + delta, once a block has written a delta. [tokens / tensor, hidden]
  /// each
  struct Stream {
    View<T, 2, kSpace> residual, delta;
    bool has_delta = false;

    [[nodiscard]] View<const T, 2, kSpace> to_add() const { return has_delta ? delta : View<T, 2, kSpace>{}; }
  };
  struct ForwardPass {
    const TokenBatch<kSpace>& batch;
    Keep keep;
    View<float, 2, kSpace> statistics;
  };
  void forward_layer(std::size_t index, const ForwardPass& pass, Stream& stream, LayerSaved& saved);
  void forward_groups(const ForwardPass& pass, Stream& stream, Saved& saved);
  void remake_layer(const DecoderLayer<P>& layer, const TokenBatch<kSpace>& batch, LayerSaved& saved);
  [[nodiscard]] Range group(std::size_t index) const;
  [[nodiscard]] std::int64_t moe_layers() const;
  struct MlpInput {
    View<const T, 2, kSpace> normed;
    std::int64_t real_tokens;
    View<float, 1, kSpace> statistics;  // of a MoE layer
  };
  void forward_mlp(const DecoderLayer<P>& layer, const MlpInput& input, View<T, 2, kSpace> delta,
                   LayerSaved& saved);
  void decode_layers(const layers::CachedPlaces<kSpace>& places, std::int64_t real_tokens,
                     const layers::KvCache<P>& cache, Stream& stream);
  struct BackwardPass {
    const TokenBatch<kSpace>& batch;
    layers::AuxCoefficients coefficients;
    const Shards<G, kSpace>& gradients;
    View<T, 2, kSpace>
        dstream;  // [tokens / tensor, hidden]; gradient in the residual stream, from layer to layer
    View<T, 2, kSpace> dnormed;  // the same shape; room
  };
  void backward_layer(const DecoderLayer<P>& layer, const BackwardPass& pass, const LayerSaved& saved);
  void backward_groups(const BackwardPass& pass, const Saved& saved);
  /// The residual stream with delta added: a new buffer to keep, or in place.
  [[nodiscard]] View<T, 2, kSpace> next_residual(const Stream& stream, Keep keep);
  [[nodiscard]] std::int64_t tokens_here(std::int64_t tokens) const;

  ModelConfig config_;
  layers::Context<P> context_;
  Arena<kSpace> tables_;  // rotary
  layers::RopeTables<kSpace> rope_;
  layers::Embedding<P> embedding_;
  std::vector<DecoderLayer<P>> layers_;
  layers::ResidualNorm<P> norm_;
  layers::LmHead<P> lm_head_;
  Options options_;
};

}  // namespace moebius::models
