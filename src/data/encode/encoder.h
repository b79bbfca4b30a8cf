#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "data/batch/sample.h"
#include "data/encode/settings.h"
#include "data/rows/row.h"
#include "data/template/turns.h"
#include "data/tokenizer/config.h"
#include "data/tokenizer/tokenizer.h"

namespace moebius::data {

/// Texts that stand for tokens in a tokenizer's own ways.
struct TokenizerWords {
  std::optional<std::string> eos;  // an answer that ends with it gets no suffix
  TextAround around;
};

/// From tokenizer.json (null: there is none) and tokenizer_config.json.
[[nodiscard]] TokenizerWords tokenizer_words(const Tokenizer* tokenizer, const TokenizerConfig& config);

/// A text longer than max_length, in the order of its parts; where truncation = "split".
struct Parts {
  std::vector<Sample> samples;
};

using Encoded = std::variant<Sample, Parts, Dropped>;

/// Rows -> tokens, labels and weights, equal to ms-swift's to the last token. A row passes the chapters of
/// template/ in this order:
///
///   turns.h       messages -> turns that alternate, tools written out     -> Conversation
///   thinking.h    thoughts put before answers, or taken out of old ones
///   contexts.h    turns -> the template's words                           -> Context
///   loss_scale.h  which of them are trained, and how much                 -> Piece
///
/// and here each piece is tokenized by itself. Nothing changes, so threads may share an encoder.
class Encoder {
 public:
  /// `tokenizer` may be null where all rows are encoded already; it must outlive the encoder.
  Encoder(const Tokenizer* tokenizer, EncodeSettings settings, TokenizerWords words);

  /// A row that was dropped stays so. Throws InputError for a row of text without tokenizer, UsageError
  /// without template.
  [[nodiscard]] Encoded encode(const Row& row) const;

  /// Tokens up to where the model is to go on: after the user's last message, or in the middle of the last
  /// answer. Throws InputError for a conversation that would be dropped.
  [[nodiscard]] std::vector<std::int32_t> encode_prompt(const ChatRow& row) const;

  /// Ids of single tokens that end an answer.
  [[nodiscard]] std::vector<std::int32_t> stop_ids() const;

  [[nodiscard]] const EncodeSettings& settings() const { return settings_; }

 private:
  [[nodiscard]] std::vector<Piece> pieces(const ChatRow& row, Purpose purpose) const;
  /// The system text with the tools told in it, or in the first of the turns.
  [[nodiscard]] std::optional<std::string> tell_tools(std::span<const Json> tools,
                                                      const std::optional<std::string>& system,
                                                      std::vector<Turn>& turns) const;
  [[nodiscard]] Sample encode_one(const ChatRow& row) const;
  [[nodiscard]] Sample encode_one(const TokenRow& row) const;
  /// Each side within max_length by itself.
  template <class R>
  [[nodiscard]] Sample encode_pair(const Pair<R>& row) const;
  /// Within max_length, as truncation says. Throws Dropped.
  [[nodiscard]] Encoded limited(Sample sample) const;
  void expect_text_can_be_encoded() const;

  const Tokenizer* tokenizer_;
  EncodeSettings settings_;
  TokenizerWords words_;
  std::string suffix_;
  std::vector<std::string> stop_words_;
  std::vector<std::int32_t> suffix_ids_;
};

/// A row of a file, parsed and encoded. Throws as both do, InputError with file:line:column.
[[nodiscard]] Encoded encode_row(const RawRow& row, RowParser& parser, const Encoder& encoder);

}  // namespace moebius::data
