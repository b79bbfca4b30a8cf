#include "data/tokenizer/file.h"

#include <fmt/format.h>
#include <map>
#include <unordered_set>

#include "base/error.h"
#include "data/tokenizer/byte_alphabet.h"
#include "data/tokenizer/json_file.h"

namespace moebius::data {
namespace {

constexpr std::int64_t kLargestId = (1 << 24) - 1;  // tables by id stay small even if a file is nonsense

// The words of GPT-2: what the byte level splits at where the file asks it to.
constexpr std::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

std::int32_t checked_id(const JsonValue& place, std::string_view token, std::int64_t id) {
  if (id < 0) place.refuse(fmt::format("token '{}' has the negative id {}", token, id));
  if (id > kLargestId) place.refuse(fmt::format("token '{}' has id {}, beyond {}", token, id, kLargestId));
  return std::int32_t(id);
}

Normalisation read_normalizer(const JsonValue& normalizer) {
  const std::string_view type = normalizer.at("type").text();
  if (type == "NFC") return Normalisation::nfc;
  if (type != "Sequence") normalizer.refuse(fmt::format("normalizer '{}' is not built (NFC is)", type));
  Normalisation result = Normalisation::none;
  for (const JsonValue& step : normalizer.at("normalizers").items()) {
    if (read_normalizer(step) == Normalisation::nfc) result = Normalisation::nfc;
  }
  return result;
}

Matches read_behavior(const JsonValue& value) {
  const std::string_view name = value.text();
  if (name == "Isolated") return Matches::isolated;
  if (name == "Removed") return Matches::removed;
  if (name == "MergedWithPrevious") return Matches::merged_with_previous;
  if (name == "MergedWithNext") return Matches::merged_with_next;
  if (name == "Contiguous") return Matches::contiguous;
  value.refuse(fmt::format("'{}' is no behaviour of a split", name));
}

SplitStep read_split(const JsonValue& split) {
  const JsonValue pattern = split.at("pattern");
  const auto regex = pattern.find("Regex"), literal = pattern.find("String");
  if (!regex && !literal) pattern.refuse("has neither 'Regex' nor 'String'");
  return {.pattern = std::string(regex ? regex->text() : literal->text()),
          .syntax = regex ? Syntax::regex : Syntax::literal,
          .matches = read_behavior(split.at("behavior")),
          .sense = split.flag_or("invert", false) ? Sense::gaps : Sense::matches,
          .place = pattern.place()};
}

/// The pre-tokenizer, flattened to steps; the byte level must be the last.
class PlanReader {
 public:
  Splitter::Plan read(const JsonValue& pre_tokenizer) {
    add(pre_tokenizer);
    if (!has_byte_level_) {
      pre_tokenizer.refuse("has no ByteLevel: only byte-level BPE is built");
    }
    return std::move(plan_);
  }

 private:
  void add(const JsonValue& step) {
    const std::string_view type = step.at("type").text();
    if (type == "Sequence") {
      for (const JsonValue& item : step.at("pretokenizers").items()) add(item);
      return;
    }
    if (has_byte_level_) step.refuse(fmt::format("'{}' after ByteLevel is not built", type));
    if (type == "Split") return plan_.before_prefix.push_back(read_split(step));
    if (type == "Digits") return add_digits(step);
    if (type == "ByteLevel") return add_byte_level(step);
    step.refuse(fmt::format("pre-tokenizer '{}' is not built (Split, Digits and ByteLevel are)", type));
  }

  void add_digits(const JsonValue& step) {
    const bool individual = step.flag_or("individual_digits", false);
    plan_.before_prefix.push_back({.pattern = R"(\p{N})",
                                   .matches = individual ? Matches::isolated : Matches::contiguous,
                                   .place = step.place()});
  }

  void add_byte_level(const JsonValue& step) {
    has_byte_level_ = true;
    if (step.flag_or("add_prefix_space", true)) plan_.prefix_space = PrefixSpace::added;
    if (!step.flag_or("use_regex", true)) return;
    plan_.after_prefix.push_back({.pattern = std::string(kByteLevelPattern), .place = step.place()});
  }

  Splitter::Plan plan_;
  bool has_byte_level_ = false;
};

void check_decoder(const JsonValue& root) {
  const JsonValue decoder = root.at("decoder");
  const std::string_view type = decoder.at("type").text();
  if (type != "ByteLevel") decoder.refuse(fmt::format("decoder '{}' is not built (ByteLevel is)", type));
}

/// Settings of the model that change ids and are not built. The unknown token needs no check: with a token
/// for every byte nothing is unknown.
void check_model_settings(const JsonValue& model) {
  if (const auto type = model.find("type"); type && type->text() != "BPE") {
    type->refuse(fmt::format("model '{}' is not built (BPE is)", type->text()));
  }
  for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const auto affix = model.find(key);
    if (affix && !affix->text().empty()) affix->refuse(fmt::format("'{}' is not built", affix->text()));
  }
  if (model.flag_or("byte_fallback", false)) {
    model.at("byte_fallback").refuse("is not built: only byte-level BPE is, not SentencePiece's");
  }
  const auto dropout = model.find("dropout");
  if (dropout && dropout->number() != 0) dropout->refuse("dropout of merges is not built");
}

Vocabulary read_vocabulary(const JsonValue& vocab) {
  Vocabulary vocabulary;
  const simdjson::dom::object members = vocab.object();
  vocabulary.reserve(members.size());
  std::unordered_map<std::int32_t, std::string_view> token_of;
  token_of.reserve(members.size());
  for (const auto& [token, value] : members) {
    std::int64_t number = 0;
    if (value.get(number) != simdjson::SUCCESS) {
      vocab.refuse(
          fmt::format("token '{}': its id {} is not a whole number", token, simdjson::minify(value)));
    }
    const std::int32_t id = checked_id(vocab, token, number);
    if (!vocabulary.emplace(token, id).second) vocab.refuse(fmt::format("token '{}' stands twice", token));
    const auto [other, is_new] = token_of.emplace(id, token);
    if (!is_new)
      vocab.refuse(fmt::format("tokens '{}' and '{}' have the same id {}", other->second, token, id));
  }
  if (vocabulary.empty()) vocab.refuse("is empty");
  return vocabulary;
}

/// A merge stands as "a b" or as ["a", "b"].
struct MergeText {
  std::string_view left, right;
};

MergeText read_merge(const JsonValue& merges, std::size_t index, simdjson::dom::element value) {
  const auto malformed = [&] {
    merges.refuse(
        fmt::format("merge {} is neither \"a b\" nor [\"a\", \"b\"]: {}", index, simdjson::minify(value)));
  };
  MergeText merge;
  std::string_view text;
  if (value.get(text) == simdjson::SUCCESS) {
    const std::size_t space = text.find(' ');
    if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) malformed();
    return {.left = text.substr(0, space), .right = text.substr(space + 1)};
  }
  simdjson::dom::array pair;
  if (value.get(pair) != simdjson::SUCCESS || pair.size() != 2) malformed();
  const bool are_texts =
      pair.at(0).get(merge.left) == simdjson::SUCCESS && pair.at(1).get(merge.right) == simdjson::SUCCESS;
  if (!are_texts) malformed();
  return merge;
}

std::vector<Merge> read_merges(const JsonValue& merges, const Vocabulary& vocabulary) {
  std::vector<Merge> result;
  const simdjson::dom::array items = merges.array();
  std::string joined;
  for (const simdjson::dom::element item : items) {
    const MergeText text = read_merge(merges, result.size(), item);
    joined.assign(text.left).append(text.right);
    const auto id = [&](std::string_view token) {
      const auto entry = vocabulary.find(token);
      if (entry != vocabulary.end()) return entry->second;
      merges.refuse(fmt::format("merge {} of '{}' and '{}': '{}' is not in model.vocab", result.size(),
                                text.left, text.right, token));
    };
    result.push_back({.left = id(text.left), .right = id(text.right), .result = id(joined)});
  }
  return result;
}

/// Text can only be encoded if each byte of it has a token. 0xC0, 0xC1 and 0xF5 .. 0xFF are not in UTF-8.
void check_bytes(const JsonValue& vocab, const Vocabulary& vocabulary) {
  for (int byte = 0; byte < 0xF5; ++byte) {
    const std::string letter = letter_of(static_cast<unsigned char>(byte));
    if (byte == 0xC0 || byte == 0xC1 || vocabulary.contains(letter)) continue;
    vocab.refuse(
        fmt::format("has no token '{}' for byte 0x{:02X}: text with it could not be encoded", letter, byte));
  }
}

AddedToken read_added_token(const JsonValue& item) {
  AddedToken token{.content = std::string(item.at("content").text()),
                   .special = item.flag_or("special", false),
                   .single_word = item.flag_or("single_word", false),
                   .lstrip = item.flag_or("lstrip", false),
                   .rstrip = item.flag_or("rstrip", false)};
  token.normalized = item.flag_or("normalized", !token.special);
  if (token.content.empty()) item.refuse("'content' is empty");
  token.id = checked_id(item, token.content, item.at("id").integer());
  return token;
}

/// Checks that Hugging Face tokenizers would give the ids that the file gives. It does not read them: a token
/// of the vocabulary keeps its id there, others are numbered on, in the order of the list.
class AddedTokenReader {
 public:
  explicit AddedTokenReader(const Vocabulary& vocabulary)
      : vocabulary_(vocabulary), next_id_(std::int64_t(vocabulary.size())) {}

  void add(const JsonValue& item) {
    AddedToken token = read_added_token(item);
    const auto in_vocabulary = vocabulary_.find(token.content);
    const bool is_new = in_vocabulary == vocabulary_.end();
    if (!contents_.insert(token.content).second)
      item.refuse(fmt::format("'{}' is listed twice", token.content));
    const std::int64_t expected = is_new ? next_id_ : in_vocabulary->second;
    if (token.id != expected) {
      item.refuse(fmt::format("'{}' has id {}, but {} {}", token.content, token.id,
                              is_new ? "the next free id is" : "model.vocab gives it", expected));
    }
    if (is_new) ++next_id_;
    tokens_.push_back(std::move(token));
  }

  std::vector<AddedToken> take() { return std::move(tokens_); }

 private:
  const Vocabulary& vocabulary_;
  std::int64_t next_id_;
  std::unordered_set<std::string> contents_;
  std::vector<AddedToken> tokens_;
};

/// Of {"type": "TemplateProcessing", "single": [{"SpecialToken": ..}, {"Sequence": ..}, ..]}, which may stand
/// in a {"type": "Sequence"}; other processors put nothing around a text.
void read_processor(const JsonValue& processor, TextAround& around) {
  const std::string_view type = processor.at("type").text();
  if (type == "Sequence") {
    for (const JsonValue& each : processor.at("processors").items()) read_processor(each, around);
  }
  if (type != "TemplateProcessing") return;
  around = {};
  bool is_behind = false;
  for (const JsonValue& part : processor.at("single").items()) {
    const auto token = part.find("SpecialToken");
    if (!token) {
      is_behind = true;
    } else {
      (is_behind ? around.after : around.before) += token->at("id").text();
    }
  }
}

}  // namespace

TokenizerFile read_tokenizer_file(const JsonFile& json) {
  const JsonValue root = json.root();
  const JsonValue model = root.at("model");
  check_model_settings(model);

  TokenizerFile file;
  if (const auto normalizer = root.find("normalizer")) file.normalisation = read_normalizer(*normalizer);
  file.splitter = PlanReader().read(root.at("pre_tokenizer"));
  check_decoder(root);
  const JsonValue vocab = model.at("vocab");
  file.vocabulary = read_vocabulary(vocab);
  check_bytes(vocab, file.vocabulary);
  file.merges = read_merges(model.at("merges"), file.vocabulary);
  if (model.flag_or("ignore_merges", false)) file.whole_words = WholeWords::first;

  AddedTokenReader added(file.vocabulary);
  if (const auto list = root.find("added_tokens")) {
    for (const JsonValue& item : list->items()) added.add(item);
  }
  file.added_tokens = added.take();
  if (const auto processor = root.find("post_processor")) read_processor(*processor, file.around);
  return file;
}

}  // namespace moebius::data
