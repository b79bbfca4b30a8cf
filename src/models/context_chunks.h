#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "base/math.h"

namespace moebius::models {

/// What a context rank holds of one sample, as tokens of the sample: two pieces, `low` before `high`; either
/// may be empty.
struct Chunk {
  Range low, high;
  [[nodiscard]] std::int64_t size() const { return low.size() + high.size(); }
};

/// Context parallelism: every sample is cut in 2 * ranks pieces in order, and rank r holds pieces r and
/// 2 * ranks - 1 - r, so that all ranks have as much of causal attention to do (Megatron-Core's layout).
/// Where the pieces of a sample cannot be equal, its spare tokens go to the ranks in turn, and the turn goes
/// on from sample to sample: over a micro batch ranks differ by one token at most, however short the samples
/// are.
///
/// Of ranks j and r the pieces lie so that, for j < r, all of r's tokens come behind j's low piece and before
/// its high one; for j > r, r's high piece comes behind both of j's, and its low piece before both.
class ContextChunks {
 public:
  /// starts: [samples + 1], first token of each sample, then the end.
  ContextChunks(std::span<const std::int32_t> starts, std::int64_t ranks);

  [[nodiscard]] std::int64_t samples() const { return std::int64_t(spans_.size()); }
  [[nodiscard]] Chunk of(std::int64_t sample, std::int64_t rank) const;
  /// Tokens of the rank that has most.
  [[nodiscard]] static std::int64_t most_tokens(std::int64_t tokens, std::int64_t ranks) {
    return divide_up(tokens, ranks);
  }

 private:
  struct Span {
    std::int64_t length, turn;  // turn: who gets the first spare token
  };
  std::int64_t ranks_;
  std::vector<Span> spans_;
};

}  // namespace moebius::models
