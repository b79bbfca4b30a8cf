#include <functional>
#include <string>
#include <thread>

#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/word_cache.h"
#include "tests/data/tokenizer_json.h"
#include "tests/support/catch.h"

using namespace moebius::data;

namespace {

using Ids = std::vector<std::int32_t>;

std::size_t hash_of(const std::string& word) {
  return std::hash<std::string>{}(word);
}

/// The ids that every thread would find for a word.
Ids ids_of(const std::string& word) {
  return {std::int32_t(hash_of(word) % 1000), std::int32_t(word.size())};
}

}  // namespace

TEST_CASE("a word comes back with the ids it was kept with", "[data][tokenizer]") {
  WordCache cache;
  Ids ids{7};
  CHECK_FALSE(cache.find("word", 5, ids));
  cache.add("word", 5, {1, 2, 3}, 1);
  cache.add("other", 5, {4}, 0);  // the same hash
  CHECK(cache.find("word", 5, ids));
  CHECK(cache.find("other", 5, ids));
  CHECK(ids == Ids{7, 2, 3, 4});
  CHECK_FALSE(cache.find("wor", 5, ids));
  const std::string long_word(WordCache::kLongest + 1, 'x');
  cache.add(long_word, 6, {1}, 0);
  CHECK_FALSE(cache.find(long_word, 6, ids));
}

TEST_CASE("a cache that is full keeps what it has", "[data][tokenizer]") {
  WordCache cache;
  for (int i = 0; i < 200'000; ++i) cache.add(std::to_string(i), hash_of(std::to_string(i)), {i}, 0);
  std::int64_t found = 0;
  for (int i = 0; i < 200'000; ++i) {
    Ids ids;
    if (!cache.find(std::to_string(i), hash_of(std::to_string(i)), ids)) continue;
    ++found;
    REQUIRE(ids == Ids{i});
  }
  CHECK(found > 60'000);
  CHECK(found <= 65'536);
}

TEST_CASE("threads fill a cache together", "[data][tokenizer]") {
  WordCache cache;
  std::vector<std::int64_t> wrong(4);
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 40'000; ++i) {
        const std::string word = std::to_string(i % 20'000 * 7);
        Ids ids;
        if (cache.find(word, hash_of(word), ids)) {
          wrong[t] += ids != ids_of(word) ? 1 : 0;
        } else {
          cache.add(word, hash_of(word), ids_of(word), 0);
        }
      }
    });
  }
  threads.clear();
  CHECK(wrong == std::vector<std::int64_t>(4));
}

TEST_CASE("words are encoded the same the second time", "[data][tokenizer]") {
  const Tokenizer tokenizer =
      moebius::test::load(moebius::test::small_tokenizer_json({{"a", "b"}, {"b", "c"}}));
  const Ids first = tokenizer.encode("abcab cab");
  CHECK(first.size() < 9);
  CHECK(tokenizer.encode("abcab cab") == first);
  CHECK(tokenizer.encode("cabcab cab abcab") == tokenizer.encode("cabcab cab abcab"));
}
