#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer/around.h"

/// The tokenizer: text to ids and back, byte-level BPE from a Hugging Face tokenizer.json. A chapter of data.
///
///   tokenizer.h      what the rest of moebius sees
///   config.h         tokenizer_config.json: the names of the special tokens
///   file.h           tokenizer.json -> plain, checked values
///   added_tokens.h   1. cuts the added tokens (<|im_start|>, <think>, ...) out of the text
///   unicode.h        2. UTF-8 repair and NFC
///   splitter.h       3. text -> words, by the file's regular expressions
///   pattern.h           one regular expression, from Oniguruma's dialect to PCRE2's
///   unicode_16.h        characters that PCRE2 does not know yet
///   bpe.h            4. word -> ids, by merges; word_cache.h: for words that come again
///   byte_alphabet.h     the letters in which the file spells bytes
///   json_file.h         reading JSON with complaints that name the place
namespace moebius::data {

/// Whether `decode` writes special tokens (<|im_end|>, ...) or leaves them out.
enum class SpecialTokens : std::uint8_t { keep, skip };

/// Encodes as Hugging Face tokenizers does with add_special_tokens = false, and decodes as it does: the ids
/// are the same, one by one. Immutable: any number of threads may use one object.
///
/// What is not byte-level BPE, or asks for something else that is not built, is refused by name when the file
/// is read. One known difference: to order combining marks, NFC here knows those that Unicode added after
/// version 9, which Hugging Face's does not.
class Tokenizer {
 public:
  /// From tokenizer.json or the folder that holds it. Throws InputError naming the file, the place and the
  /// reason; a folder with only vocab.json and merges.txt is refused, with the way to convert it.
  static Tokenizer load(const std::filesystem::path& file_or_folder);

  /// From the text of a tokenizer.json; `name` is what complaints call it.
  static Tokenizer from_text(const std::string& name, std::string_view text);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// The ids of `text`. Added tokens in the text, special ones too, become their ids; nothing is added in
  /// front or behind. Bytes that are not UTF-8 are read as U+FFFD, one for each maximal invalid sequence.
  [[nodiscard]] std::vector<std::int32_t> encode(std::string_view text) const;

  /// The text of `ids`. What is not UTF-8 after the bytes of all tokens are joined becomes U+FFFD. Ids that
  /// have no token (a model's vocabulary is often padded) write nothing.
  [[nodiscard]] std::string decode(std::span<const std::int32_t> ids, SpecialTokens special_tokens) const;

  /// The bytes that `decode` writes for one id, which may be a part of a character; none for ids without
  /// token.
  [[nodiscard]] std::string_view bytes_of(std::int32_t id) const;

  /// The id of a token spelled as in tokenizer.json: "<|im_end|>", "Ġthe".
  [[nodiscard]] std::optional<std::int32_t> id_of(std::string_view token) const;

  /// What tokenizer.json puts around any text where add_special_tokens is true.
  [[nodiscard]] const TextAround& around() const;

  /// The largest id + 1.
  [[nodiscard]] std::int64_t vocab_size() const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);
  std::unique_ptr<const Parts> parts_;
};

}  // namespace moebius::data
