#pragma once
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "layers/layers.h"
#include "models/context_chunks.h"

namespace moebius::models {

/// One micro batch as the decoder takes it, the same on all tensor ranks; a context rank has its chunks of
/// the samples (context_chunks.h). Samples end to end, then padding up to a multiple of the tensor degree, to
/// the same length on all context ranks; padding is in no segment, predicts nothing and goes to no expert.
template <Space S>
struct TokenBatch {
  View<const std::int32_t, 1, S> ids;  // [tokens]
  layers::TokenPlaces<S> places;
  layers::Targets<S> targets;      // only predictions that are asked for: few of a prompt's tokens
  layers::RealTokens real_tokens;  // none on a rank that has nothing to do but must take part
  std::int64_t longest = 0;        // tokens of the longest sample, all its chunks together
  // For dropout, which is the same on every mesh; without numbers there is none.
  View<const std::int32_t, 2, S> numbers = {};  // [tokens, 2]; see HostBatch::numbers
};

/// Samples end to end, without padding.
struct PackedTokens {
  std::span<const std::int32_t> ids, positions;  // [tokens]; positions restart at 0 in every sample
  std::span<const std::int32_t> targets;         // [tokens]; what is to come after this token; < 0: not asked
  std::span<const std::int32_t> starts;          // [samples + 1]; first token of each sample, then the end
};

/// What the tokens of a micro batch are padded to a multiple of: its tensor ranks share them evenly, and on a
/// device attention runs over tiles of 128.
template <Space S>
[[nodiscard]] constexpr std::int64_t token_multiple(std::int64_t tensor_degree) {
  return S == Space::host ? tensor_degree : std::lcm(std::int64_t{128}, tensor_degree);
}

/// Which share of a micro batch a rank holds.
struct TokenShare {
  std::int64_t multiple = 1;           // of which the number of tokens, with padding, is one; at least once
  std::int64_t context = 1, rank = 0;  // degree and index of Axis::context
};
template <Space S>
[[nodiscard]] TokenShare token_share(const parallel::Mesh& mesh) {
  using parallel::Axis;
  return {token_multiple<S>(mesh.degree(Axis::tensor)), mesh.degree(Axis::context),
          mesh.index(Axis::context)};
}

/// The lists of a TokenBatch, in host memory.
class HostBatch {
 public:
  HostBatch(const PackedTokens& packed, const TokenShare& share);

  /// Valid as long as this object.
  [[nodiscard]] TokenBatch<Space::host> view() const;
  /// The same in a space, copied there.
  template <Space S>
  [[nodiscard]] TokenBatch<S> placed(Arena<S>& arena, Staging<S>& staging, Queue<S> queue) const;
  /// Of each token here the number of the micro batch in the training and its place in the pack: [tokens, 2].
  [[nodiscard]] std::vector<std::int32_t> numbers(std::int64_t micro_batch) const;
  [[nodiscard]] std::int64_t target_count() const { return std::int64_t(target_rows_.size()); }
  /// The token of the pack before each target: [targets], rising.
  [[nodiscard]] const std::vector<std::int32_t>& target_tokens() const { return target_tokens_; }
  /// The entries of a list over all tokens of the pack that belong to targets, in their order: [targets].
  [[nodiscard]] std::vector<float> of_targets(std::span<const float> of_tokens) const;
  [[nodiscard]] const layers::RealTokens& real_tokens() const { return real_tokens_; }
  [[nodiscard]] std::int64_t tokens() const { return std::int64_t(ids_.size()); }  // here, with padding

 private:
  /// Segments of one step of the ring; lists as kernels::Segments has them.
  struct Remote {
    std::vector<std::int32_t> query_starts, query_counts, key_starts, key_counts;
    std::int64_t longest = 0, longest_keys = 0;
  };
  void take(const PackedTokens& packed, std::size_t t);
  [[nodiscard]] static Remote remote_of(const ContextChunks& chunks, std::int64_t rank, std::int64_t other);
  template <Space S, class Place>
  [[nodiscard]] TokenBatch<S> made(const Place& place) const;

  std::vector<std::int32_t> ids_, positions_, places_, starts_;
  std::vector<std::int32_t> target_rows_, target_ids_, target_of_token_, target_tokens_;
  std::vector<Remote> remote_;
  layers::RealTokens real_tokens_;
  std::int64_t longest_ = 0, longest_here_ = 0;
};

}  // namespace moebius::models
