#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/tokenizer/added_tokens.h"
#include "data/tokenizer/around.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/json_file.h"
#include "data/tokenizer/splitter.h"

namespace moebius::data {

enum class Normalisation : std::uint8_t { none, nfc };

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
/// Token, spelled as in the file -> id.
using Vocabulary = std::unordered_map<std::string, std::int32_t, TextHash, std::equal_to<>>;

/// What a tokenizer.json says, checked as far as it can be without using it.
struct TokenizerFile {
  Normalisation normalisation = Normalisation::none;
  Splitter::Plan splitter;
  Vocabulary vocabulary;  // of the model, without the added tokens
  std::vector<Merge> merges;
  WholeWords whole_words = WholeWords::by_merges;
  std::vector<AddedToken> added_tokens;
  TextAround around;
};

/// Throws InputError naming the file and the place of what is missing, malformed or not built.
[[nodiscard]] TokenizerFile read_tokenizer_file(const JsonFile& json);

}  // namespace moebius::data
