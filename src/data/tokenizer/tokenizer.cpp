#include "data/tokenizer/tokenizer.h"

#include <fmt/format.h>

#include "base/error.h"
#include "data/tokenizer/added_tokens.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/byte_alphabet.h"
#include "data/tokenizer/file.h"
#include "data/tokenizer/splitter.h"
#include "data/tokenizer/unicode.h"

namespace moebius::data {
namespace {

namespace fs = std::filesystem;

fs::path tokenizer_json(const fs::path& file_or_folder) {
  if (!fs::is_directory(file_or_folder)) {
    if (fs::exists(file_or_folder)) return file_or_folder;
    throw InputError(fmt::format("{}: no such file or folder", file_or_folder.string()));
  }
  fs::path path = file_or_folder / "tokenizer.json";
  if (fs::exists(path)) return path;
  const bool has_old_files =
      fs::exists(file_or_folder / "vocab.json") || fs::exists(file_or_folder / "merges.txt");
  throw InputError(fmt::format("{}: has no tokenizer.json{}", file_or_folder.string(),
                               has_old_files
                                   ? "; vocab.json and merges.txt are not read: transformers writes one with "
                                     "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
                                   : ""));
}

std::string content_in_text(const AddedToken& token, Normalisation normalisation) {
  const bool changes = token.normalized && normalisation == Normalisation::nfc;
  return changes ? to_nfc(token.content) : token.content;
}

/// The added tokens that are looked for in raw text, or those in normalised text (special ones first: they
/// win where normalisation makes two equal).
std::vector<AddedToken> selected(const TokenizerFile& file, bool normalized) {
  std::vector<AddedToken> tokens;
  for (const bool special : {true, false}) {
    for (const AddedToken& token : file.added_tokens) {
      if (token.normalized != normalized || token.special != special) continue;
      tokens.push_back(token);
      if (normalized && file.normalisation == Normalisation::nfc)
        tokens.back().content = to_nfc(token.content);
    }
  }
  return tokens;
}

Bpe make_bpe(const TokenizerFile& file) {
  Bpe::Model model{.tokens = {}, .merges = file.merges, .whole_words = file.whole_words};
  model.tokens.reserve(file.vocabulary.size());
  for (const auto& [token, id] : file.vocabulary) {
    if (auto bytes = bytes_spelled_by(token)) model.tokens.push_back({*std::move(bytes), id});
  }
  for (int byte = 0; byte < 256; ++byte) {
    const auto entry = file.vocabulary.find(letter_of(static_cast<unsigned char>(byte)));
    model.byte_id[std::size_t(byte)] = entry == file.vocabulary.end() ? -1 : entry->second;
  }
  return Bpe(model);
}

}  // namespace

struct Tokenizer::Parts {
  struct Written {  // what decoding an id writes
    std::string bytes;
    bool special = false;
  };

  explicit Parts(TokenizerFile file)
      : normalisation(file.normalisation),
        around(std::move(file.around)),
        raw_tokens(selected(file, false)),
        normalised_tokens(selected(file, true)),
        splitter(file.splitter),
        bpe(make_bpe(file)),
        ids(std::move(file.vocabulary)) {
    for (const AddedToken& token : file.added_tokens) ids.emplace(token.content, token.id);
    for (const auto& [token, id] : ids) {
      if (std::size_t(id) >= written.size()) written.resize(std::size_t(id) + 1);
      // Spelled in bytes or not, added or not: what can be read as bytes is, as Hugging Face tokenizers does.
      written[std::size_t(id)].bytes = bytes_spelled_by(token).value_or(token);
    }
    for (const AddedToken& token : file.added_tokens) {
      const std::string content = content_in_text(token, normalisation);
      written[std::size_t(token.id)] = {bytes_spelled_by(content).value_or(content), token.special};
    }
  }

  void encode_piece(std::string_view piece, Pattern::MatchSpace& space,
                    std::vector<std::int32_t>& out) const {
    for (const AddedTokens::Part& part : normalised_tokens.cut(piece)) {
      if (part.id >= 0) {
        out.push_back(part.id);
      } else {
        splitter.split(part.text, space, [&](std::string_view word) { bpe.encode(word, out); });
      }
    }
  }

  Normalisation normalisation;
  TextAround around;
  AddedTokens raw_tokens, normalised_tokens;
  Splitter splitter;
  Bpe bpe;
  Vocabulary ids;                // of the model's vocabulary and the added tokens
  std::vector<Written> written;  // by id
};

Tokenizer::Tokenizer(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const fs::path& file_or_folder) {
  const JsonFile json(tokenizer_json(file_or_folder));
  return Tokenizer(std::make_unique<const Parts>(read_tokenizer_file(json)));
}

Tokenizer Tokenizer::from_text(const std::string& name, std::string_view text) {
  const JsonFile json(name, text);
  return Tokenizer(std::make_unique<const Parts>(read_tokenizer_file(json)));
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  std::string repaired;
  if (!is_valid_utf8(text)) {
    repaired = with_invalid_replaced(text);
    text = repaired;
  }
  std::vector<std::int32_t> ids;
  Pattern::MatchSpace space;
  for (const AddedTokens::Part& part : parts_->raw_tokens.cut(text)) {
    const bool changes = parts_->normalisation == Normalisation::nfc && !is_plainly_nfc(part.text);
    if (part.id >= 0) {
      ids.push_back(part.id);
    } else if (changes) {
      parts_->encode_piece(to_nfc(part.text), space, ids);
    } else {
      parts_->encode_piece(part.text, space, ids);
    }
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, SpecialTokens special_tokens) const {
  std::string bytes;
  for (const std::int32_t id : ids) {
    if (id < 0 || std::size_t(id) >= parts_->written.size()) continue;
    const Parts::Written& token = parts_->written[std::size_t(id)];
    if (!token.special || special_tokens == SpecialTokens::keep) bytes += token.bytes;
  }
  return is_valid_utf8(bytes) ? bytes : with_invalid_replaced(bytes);
}

std::string_view Tokenizer::bytes_of(std::int32_t id) const {
  if (id < 0 || std::size_t(id) >= parts_->written.size()) return {};
  return parts_->written[std::size_t(id)].bytes;
}

std::optional<std::int32_t> Tokenizer::id_of(std::string_view token) const {
  const auto entry = parts_->ids.find(token);
  if (entry == parts_->ids.end()) return std::nullopt;
  return entry->second;
}

const TextAround& Tokenizer::around() const {
  return parts_->around;
}

std::int64_t Tokenizer::vocab_size() const {
  return std::int64_t(parts_->written.size());
}

}  // namespace moebius::data
