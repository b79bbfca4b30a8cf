#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer/word_cache.h"

namespace moebius::data {

/// `left` and `right`, side by side, become `result`. Merges earlier in the file come first.
struct Merge {
  std::int32_t left = 0, right = 0, result = 0;
};

/// Whether a word that is itself in the vocabulary becomes its id at once, or only where merges lead there.
enum class WholeWords : std::uint8_t { by_merges, first };

/// Byte-pair encoding of one word. Any number of threads may use one object.
///
/// As long as there is a pair that has a merge, the earliest merge of the file is done, at its leftmost
/// place. Most words of real text are one token: those are looked up in a table of all tokens that encode as
/// themselves, made once. Of the others the first different ones that occur are kept (word_cache.h).
class Bpe {
 public:
  struct Token {
    std::string bytes;
    std::int32_t id = 0;
  };
  struct Model {
    std::vector<Token> tokens;                // every token that is spelled in bytes
    std::array<std::int32_t, 256> byte_id{};  // -1: this byte cannot occur
    std::span<const Merge> merges;
    WholeWords whole_words = WholeWords::by_merges;
  };
  explicit Bpe(const Model& model);

  /// Appends the ids of `word` to `ids`.
  void encode(std::string_view word, std::vector<std::int32_t>& ids) const;

 private:
  /// Where a pair stands among the merges, and what it becomes.
  struct Entry {
    std::uint64_t pair = kNoPair;
    std::int32_t rank = 0, result = 0;
  };
  /// A token in the table of whole words: open addressing, keys in `bytes_`.
  struct WholeWord {
    std::uint32_t begin = 0, length = 0;
    std::uint32_t hash = 0;
    std::int32_t id = -1;  // -1: free
  };
  static constexpr std::uint64_t kNoPair = ~std::uint64_t{0};

  void add_merges(std::span<const Merge> merges);
  void add_whole_words(const Model& model);
  [[nodiscard]] const Entry* find(std::int32_t left, std::int32_t right) const;
  [[nodiscard]] std::int32_t whole_word(std::string_view word, std::size_t hash) const;
  void merge(std::string_view word, std::vector<std::int32_t>& ids) const;
  void merge_short(std::string_view word, std::vector<std::int32_t>& ids) const;
  void merge_long(std::string_view word, std::vector<std::int32_t>& ids) const;

  std::array<std::int32_t, 256> byte_id_;
  std::vector<Entry> entries_;          // by hash of the pair, a power of two of them
  std::vector<WholeWord> whole_words_;  // the same
  std::string bytes_;
  std::unique_ptr<WordCache> merged_ = std::make_unique<WordCache>();
};

}  // namespace moebius::data
