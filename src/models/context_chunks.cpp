#include "models/context_chunks.h"

namespace moebius::models {

ContextChunks::ContextChunks(std::span<const std::int32_t> starts, std::int64_t ranks) : ranks_(ranks) {
  std::int64_t turn = 0;
  for (std::size_t sample = 1; sample < starts.size(); ++sample) {
    const std::int64_t length = starts[sample] - starts[sample - 1];
    spans_.push_back({length, turn});
    turn = (turn + length % (2 * ranks)) % ranks;
  }
}

Chunk ContextChunks::of(std::int64_t sample, std::int64_t rank) const {
  const auto& [length, turn] = spans_[std::size_t(sample)];
  const std::int64_t piece = length / (2 * ranks_), spare = length % (2 * ranks_);
  // The first `spare` of the ranks in turn have a token more in their low piece; those who come a second
  // time, in their high piece.
  const auto place = [&, first = turn](std::int64_t r) { return (r - first + ranks_) % ranks_; };
  const auto low_size = [&](std::int64_t r) { return piece + (place(r) < spare ? 1 : 0); };
  const auto high_size = [&](std::int64_t r) { return piece + (place(r) + ranks_ < spare ? 1 : 0); };
  std::int64_t low_begin = 0, high_end = length;
  for (std::int64_t r = 0; r < rank; ++r) {
    low_begin += low_size(r);
    high_end -= high_size(r);
  }
  return {{low_begin, low_begin + low_size(rank)}, {high_end - high_size(rank), high_end}};
}

}  // namespace moebius::models
