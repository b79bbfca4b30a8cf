#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace moebius::data {

/// The ids of words that had to be merged, for when they come again: few different words make up most of any
/// text. It takes the first words that it is given, until its room is full, and keeps them: so it is as large
/// as it gets after some thousand rows, and any number of threads may use it without waiting for each other.
class WordCache {
 public:
  static constexpr std::size_t kLongest = 256;  // bytes of a word that is kept

  WordCache() : slots_(kSlots) {}
  WordCache(const WordCache&) = delete;
  WordCache& operator=(const WordCache&) = delete;
  ~WordCache();

  /// Appends the ids of `word`, whose hash is `hash`, to `ids`; false where it is not there.
  bool find(std::string_view word, std::size_t hash, std::vector<std::int32_t>& ids) const;
  /// Keeps ids[begin..] for `word`, where there is room.
  void add(std::string_view word, std::size_t hash, const std::vector<std::int32_t>& ids, std::size_t begin);

 private:
  static constexpr std::size_t kSlots = std::size_t{1} << 17;
  static constexpr std::size_t kMostWords = kSlots / 2;  // of about 100 bytes each
  static constexpr std::size_t kProbes = 8;

  /// The head of one allocation; behind it the ids, then the bytes of the word.
  struct Word;
  std::vector<std::atomic<Word*>> slots_;
  std::atomic<std::size_t> words_{0};
};

}  // namespace moebius::data
