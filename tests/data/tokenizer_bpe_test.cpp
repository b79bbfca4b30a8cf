#include <algorithm>
#include <map>

#include "data/tokenizer/bpe.h"
#include "tensor/random.h"
#include "tests/support/catch.h"

using namespace moebius;
using namespace moebius::data;
using Ids = std::vector<std::int32_t>;

namespace {

/// Merges over the letters a, b, c, each of two tokens that are there already; results may coincide.
struct RandomModel {
  explicit RandomModel(std::uint64_t seed) {
    const Random random{.seed = seed};
    std::map<std::string, std::int32_t> id_of;
    for (const char letter : {'a', 'b', 'c'}) add(std::string(1, letter), id_of);
    for (std::uint64_t i = 0; i < 60; ++i) {
      const Bpe::Token left = tokens[random.below(tokens.size(), 2 * i)];
      const Bpe::Token right = tokens[random.below(tokens.size(), 2 * i + 1)];
      add(left.bytes + right.bytes, id_of);
      merges.push_back({left.id, right.id, id_of[left.bytes + right.bytes]});
    }
  }

  void add(const std::string& bytes, std::map<std::string, std::int32_t>& id_of) {
    if (id_of.emplace(bytes, std::int32_t(tokens.size())).second) {
      tokens.push_back({bytes, std::int32_t(tokens.size())});
    }
  }

  [[nodiscard]] Bpe bpe() const {
    Bpe::Model model{.tokens = tokens, .byte_id = {}, .merges = merges};
    model.byte_id.fill(-1);
    for (std::size_t letter = 0; letter < 3; ++letter) model.byte_id['a' + letter] = std::int32_t(letter);
    return Bpe(model);
  }

  /// The definition: the earliest merge (of a pair that is listed twice, the later line counts), leftmost
  /// first.
  [[nodiscard]] Ids by_definition(const std::string& word) const {
    std::map<std::pair<std::int32_t, std::int32_t>, std::size_t> rank_of;
    for (std::size_t rank = 0; rank < merges.size(); ++rank)
      rank_of[{merges[rank].left, merges[rank].right}] = rank;
    Ids ids;
    for (const char letter : word) ids.push_back(letter - 'a');
    while (true) {
      std::size_t best = merges.size(), at = 0;
      for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
        const auto entry = rank_of.find({ids[i], ids[i + 1]});
        if (entry != rank_of.end() && entry->second < best) best = entry->second, at = i;
      }
      if (best == merges.size()) return ids;
      ids[at] = merges[best].result;
      ids.erase(ids.begin() + std::ptrdiff_t(at) + 1);
    }
  }

  std::vector<Bpe::Token> tokens;
  std::vector<Merge> merges;
};

std::string random_word(const Random& random, std::size_t length) {
  std::string word;
  for (std::size_t i = 0; i < length; ++i) word += char('a' + random.below(3, i));
  return word;
}

}  // namespace

TEST_CASE("short and long words merge as the definition says", "[data][tokenizer]") {
  const auto seed = GENERATE(range(1, 30));
  const RandomModel model{std::uint64_t(seed)};
  const Bpe bpe = model.bpe();
  for (std::size_t length = 0; length < 160; length += length < 8 ? 1 : 7) {
    const Random random{.seed = std::uint64_t(seed), .tensor = std::uint32_t(length)};
    const std::string word = random_word(random, length);
    Ids ids{-7};  // what is there stays
    bpe.encode(word, ids);
    REQUIRE(ids.front() == -7);
    ids.erase(ids.begin());
    CHECK(ids == model.by_definition(word));
  }
}

TEST_CASE("every token that is looked up whole encodes as itself by merges", "[data][tokenizer]") {
  const RandomModel model{99};
  const Bpe bpe = model.bpe();
  for (const Bpe::Token& token : model.tokens) {
    Ids ids;
    bpe.encode(token.bytes, ids);
    CHECK(ids == model.by_definition(token.bytes));
  }
}

TEST_CASE("a word of a million bytes takes a moment, not an hour", "[data][tokenizer]") {
  const RandomModel model{3};
  Ids ids;
  model.bpe().encode(random_word({.seed = 5}, 1'000'000), ids);
  std::size_t length = 0;
  for (const std::int32_t id : ids) length += model.tokens[std::size_t(id)].bytes.size();
  CHECK(length == 1'000'000);
}
