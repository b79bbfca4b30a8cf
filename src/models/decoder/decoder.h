#pragma once
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "layers/layers.h"
#include "models/batch.h"
#include "models/config.h"
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
  static constexpr Space kSpace = P::kSpace;

  /// What a decoder works with; all of it outlives the decoder.
  struct Parts {
    const Shards<T, kSpace>& weights;
    parallel::Exchange<kSpace>& exchange;
    Arena<kSpace>& activations;  // what Saved holds
    Arena<kSpace>& workspace;    // empty between calls
    Queue<kSpace> queue = {};
  };
  struct Options {
    std::int64_t longest = 0;  // tokens of the longest sequence
    kernels::Routing routing = kernels::Routing::learned;
  };
  Decoder(const ModelConfig& config, const Parts& parts, const Options& options);

  /// What forward keeps. Its memory is released on leaving the block, so Saved objects nest like blocks.
  class Saved {
   public:
    explicit Saved(Arena<kSpace>& activations) : scope_(activations) {}

   private:
    friend class Decoder;
    ArenaScope<kSpace> scope_;
    std::vector<typename DecoderLayer<P>::Saved> layers_;
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
            const Shards<float, kSpace>& gradients);

  struct OutputGradient {
    View<T, 2, kSpace> dhidden;  // [tokens / tensor, hidden]; used up
    layers::AuxCoefficients coefficients;
  };
  void backward(const OutputGradient& output, const TokenBatch<kSpace>& batch, const Saved& saved,
                const Shards<float, kSpace>& gradients);

  /// After forward with Keep::for_backward.
  [[nodiscard]] RouterTotals router_totals(const Saved& saved) const;

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

 private:
  [[nodiscard]] DecoderLayer<P> make_layer(std::int64_t index, const Shards<T, kSpace>& weights,
                                           const Options& options) const;
  struct Stream {
    View<T, 2, kSpace> residual, delta;  // [tokens / tensor, hidden] each
  };
  void forward_layer(const DecoderLayer<P>& layer, const TokenBatch<kSpace>& batch, Keep keep, Stream& stream,
                     typename DecoderLayer<P>::Saved& saved);
  void forward_mlp(const DecoderLayer<P>& layer, std::int64_t real_tokens, View<T, 2, kSpace> delta,
                   typename DecoderLayer<P>::Saved& saved);
  struct BackwardPass {
    const TokenBatch<kSpace>& batch;
    layers::AuxCoefficients coefficients;
    const Shards<float, kSpace>& gradients;
    View<T, 2, kSpace>
        dstream;  // [tokens / tensor, hidden]; gradient in the residual stream, from layer to layer
    View<T, 2, kSpace> dnormed;  // the same shape; room
  };
  void backward_layer(const DecoderLayer<P>& layer, const BackwardPass& pass,
                      const typename DecoderLayer<P>::Saved& saved);
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
  std::int64_t longest_;
};

}  // namespace moebius::models
