#pragma once
#include <algorithm>
#include <string>

#include "layers/context.h"

namespace moebius::layers {

/// The predictions that are asked for, one entry each; the same on all tensor ranks.
template <Space S>
struct Targets {
  View<const std::int32_t, 1, S> rows;      // [targets]; token of the micro batch that predicts
  View<const std::int32_t, 1, S> ids;       // [targets]; what it should predict
  View<const std::int32_t, 1, S> entry_of;  // [tokens]; the reverse of rows: entry, or -1

  [[nodiscard]] std::int64_t count() const { return rows.shape[0]; }
};

/// The output projection and cross entropy, its vocabulary split over the tensor ranks. Only rows that
/// predict a target get logits, in chunks of at most kLogitsBytes a rank.
template <Platform P>
struct LmHead {
  using T = typename P::Storage;
  using G = typename P::Gradient;
  static constexpr Space kSpace = P::kSpace;
  /// On a device large enough for chunks of 4096 rows of most vocabularies, whose products run at full speed.
  static constexpr std::int64_t kLogitsBytes =
      kSpace == Space::host ? std::int64_t{256} << 20 : std::int64_t{1280} << 20;

  /// What `loss` reads and writes besides its inputs. The loss is -sum weights * log_probabilities.
  struct Loss {
    View<const float, 1, kSpace> weights;      // [targets]
    View<float, 1, kSpace> log_probabilities;  // [targets]; overwritten
    View<T, 2, kSpace> dhidden;                // [tokens / tensor, hidden]; overwritten
    View<G, 2, kSpace> dweight;                // [vocab / tensor, hidden]; as the context's `into` says;
                                               // empty: not wanted
  };

  std::string name;                 // for the exchange
  View<const T, 2, kSpace> weight;  // [vocab / tensor, hidden]
  std::int64_t vocab_begin = 0;
  std::int64_t logits_bytes = kLogitsBytes;

  /// hidden [tokens / tensor, hidden], after the final norm. log_probabilities [targets], overwritten.
  void log_probabilities(View<const T, 2, kSpace> hidden, const Targets<kSpace>& targets,
                         View<float, 1, kSpace> log_probabilities, Context<P>& context) const;
  void loss(View<const T, 2, kSpace> hidden, const Targets<kSpace>& targets, const Loss& loss,
            Context<P>& context) const;
  /// The logits of the given tokens over the whole vocabulary, on every tensor rank: logits [rows, vocab].
  void logits(View<const T, 2, kSpace> hidden, View<const std::int32_t, 1, kSpace> rows,
              View<float, 2, kSpace> logits, Context<P>& context) const;
  /// Targets in one chunk: at least 64, below which the product is bound by reading the weight, at most 4096.
  [[nodiscard]] static std::int64_t chunk_targets(std::int64_t local_vocab,
                                                  std::int64_t bytes = kLogitsBytes) {
    return std::clamp<std::int64_t>(bytes / (local_vocab * std::int64_t(sizeof(T))), 64, 4096);
  }

 private:
  struct Chunk {
    View<T, 2, kSpace> x;                         // [chunk, hidden]
    View<const std::int32_t, 1, kSpace> ids;      // [chunk]
    View<T, 2, kSpace> logits;                    // [chunk, vocab / tensor]
    View<float, 1, kSpace> row_max;               // [chunk]
    View<float, 1, kSpace> sum_exp, label_logit;  // [chunk] each, one behind the other
    View<float, 1, kSpace> log_probability;       // [chunk]
  };
  [[nodiscard]] Chunk project(View<const T, 2, kSpace> whole, const Targets<kSpace>& targets, Range entries,
                              Context<P>& context) const;
  void normalise(const Chunk& chunk, Context<P>& context) const;
  void replace_by_gradient(const Chunk& chunk, View<const float, 1, kSpace> weights,
                           Context<P>& context) const;
};

}  // namespace moebius::layers
