#include "models/context_chunks.h"

#include <random>

#include "tests/support/catch.h"

using namespace moebius;
using models::Chunk;
using models::ContextChunks;

namespace {

/// The pieces of one sample in the order of its tokens: low ones of all ranks, then high ones backwards.
std::vector<Range> pieces_of(const ContextChunks& chunks, std::int64_t sample, std::int64_t ranks) {
  std::vector<Range> pieces;
  for (std::int64_t r = 0; r < ranks; ++r) pieces.push_back(chunks.of(sample, r).low);
  for (std::int64_t r = ranks; r-- > 0;) pieces.push_back(chunks.of(sample, r).high);
  return pieces;
}

}  // namespace

TEST_CASE("chunks of samples follow each other without a gap and are balanced", "[models][context]") {
  std::mt19937 engine(3);
  for (const std::int64_t ranks : {1, 2, 3, 4, 8}) {
    std::vector<std::int32_t> starts{0};
    std::vector<std::int64_t> tokens(std::size_t(ranks), 0);
    for (int sample = 0; sample < 200; ++sample) {
      const std::int32_t length = std::int32_t(engine() % (sample % 3 == 0 ? 100 : 5));  // some are empty
      starts.push_back(starts.back() + length);
    }
    const ContextChunks chunks(starts, ranks);
    REQUIRE(chunks.samples() == 200);
    for (std::int64_t sample = 0; sample < 200; ++sample) {
      const std::int64_t length = starts[std::size_t(sample + 1)] - starts[std::size_t(sample)];
      std::int64_t next = 0, least = length, most = 0;
      for (const Range& piece : pieces_of(chunks, sample, ranks)) {
        REQUIRE(piece.begin == next);
        next = piece.end;
        least = std::min(least, piece.size()), most = std::max(most, piece.size());
      }
      REQUIRE(next == length);
      REQUIRE(most - least <= 1);
      for (std::int64_t r = 0; r < ranks; ++r) tokens[std::size_t(r)] += chunks.of(sample, r).size();
      const auto [few, many] = std::minmax_element(tokens.begin(), tokens.end());
      REQUIRE(*many - *few <= 1);
      REQUIRE(*many == ContextChunks::most_tokens(starts[std::size_t(sample + 1)], ranks));
    }
  }
}

TEST_CASE("chunks share out the work of causal attention", "[models][context]") {
  for (const std::int64_t ranks : {2, 3, 8}) {
    const std::vector<std::int32_t> starts{0, 1001};
    const ContextChunks chunks(starts, ranks);
    const auto keys_seen = [](const Range& piece) {
      return (piece.begin + 1 + piece.end) * piece.size() / 2;  // token t sees t + 1 keys
    };
    const std::int64_t even = keys_seen({0, 1001}) / ranks;
    for (std::int64_t r = 0; r < ranks; ++r) {
      const Chunk chunk = chunks.of(0, r);
      CHECK(double(keys_seen(chunk.low) + keys_seen(chunk.high)) == test::Approx(even).epsilon(0.02));
    }
  }
}

TEST_CASE("one rank has whole samples", "[models][context]") {
  const std::vector<std::int32_t> starts{0, 5, 5, 6};
  const ContextChunks chunks(starts, 1);
  const Chunk chunk = chunks.of(0, 0);
  CHECK(chunk.low.begin == 0);
  CHECK(chunk.low.end == chunk.high.begin);
  CHECK(chunk.high.end == 5);
  CHECK(chunks.of(1, 0).size() == 0);
  CHECK(chunks.of(2, 0).size() == 1);
}
