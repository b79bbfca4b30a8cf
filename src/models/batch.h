#pragma once
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "layers/layers.h"

namespace moebius::models {

/// One micro batch as the decoder takes it, the same on all tensor ranks. Samples end to end, then padding up
/// to a multiple of the tensor degree; padding is in no segment, predicts nothing and goes to no expert.
template <Space S>
struct TokenBatch {
  View<const std::int32_t, 1, S> ids;  // [tokens]
  layers::TokenPlaces<S> places;
  layers::Targets<S> targets;    // only predictions that are asked for: few of a prompt's tokens
  std::int64_t real_tokens = 0;  // without padding; 0 on a rank that has nothing to do but must take part
  std::int64_t longest = 0;      // tokens of the longest sample
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

/// The lists of a TokenBatch, in host memory.
class HostBatch {
 public:
  /// Pads to a multiple of `multiple` (see token_multiple), at least to `multiple`.
  HostBatch(const PackedTokens& packed, std::int64_t multiple);

  /// Valid as long as this object.
  [[nodiscard]] TokenBatch<Space::host> view() const;
  /// The same in a space, copied there.
  template <Space S>
  [[nodiscard]] TokenBatch<S> placed(Arena<S>& arena, Staging<S>& staging, Queue<S> queue) const;
  [[nodiscard]] std::int64_t target_count() const { return std::int64_t(target_rows_.size()); }
  /// The entries of a list over all tokens that belong to targets, in their order: [targets].
  [[nodiscard]] std::vector<float> of_targets(std::span<const float> of_tokens) const;
  [[nodiscard]] std::int64_t real_tokens() const { return real_tokens_; }
  [[nodiscard]] std::int64_t tokens() const { return std::int64_t(ids_.size()); }  // with padding

 private:
  std::vector<std::int32_t> ids_, positions_, starts_;
  std::vector<std::int32_t> target_rows_, target_ids_, target_of_token_;
  std::int64_t real_tokens_ = 0, longest_ = 0;
};

}  // namespace moebius::models
