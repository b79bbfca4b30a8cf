#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "data/rows/dropped.h"
#include "data/rows/json.h"
#include "data/rows/source.h"

namespace moebius::data {

enum class Role : std::uint8_t { system, user, assistant, tool_call, tool_result };

struct ToolCall {
  std::string name;
  Json arguments;
};

struct Message {
  Role role = Role::user;
  std::string content;
  std::optional<bool> loss;          // of assistants and tool calls: train it or not, whatever the strategy
  std::optional<double> loss_scale;  // of the same: weight of its tokens
  std::optional<ToolCall> call;      // of a tool_call, which has no content
};

/// What a row says for itself about thinking; wins over the job.
struct ChatOptions {
  std::optional<bool> enable_thinking, preserve_thinking;
  std::optional<std::string> response_prefix;
};

/// A row of text, whatever form it was written in.
struct ChatRow {
  std::vector<Message> messages;
  std::vector<Json> tools;  // each {"type": "function", "function": {..}} or as given
  ChatOptions options;
};

/// A row that is already encoded.
struct TokenRow {
  std::vector<std::int32_t> input_ids, labels;  // of one length
  std::vector<float> loss_scale;                // of the same, or empty: 1 where trained
};

/// Two rows that are compared.
template <class R>
struct Pair {
  R chosen, rejected;
};

using Row = std::variant<ChatRow, TokenRow, Pair<ChatRow>, Pair<TokenRow>, Dropped>;

/// What a row is read as.
enum class Answers : std::uint8_t { one, pair };

/// What a job says about the form of rows.
struct RowSettings {
  std::map<std::string, std::string> columns;  // name in the file -> our name
  std::string model_name, model_author;        // fill {{NAME}} and {{AUTHOR}}, unless empty
  Answers answers = Answers::one;
};

/// Columns by name -> what the row says. Which form a row has is told by the columns it has itself:
///   input_ids, or chosen with input_ids     already encoded (token_row.h)
///   messages, conversations, conversation   chat (messages_form.h), with OpenAI's and Anthropic's tool calls
///   instruction and input                   alpaca (response_form.h)
///   anything else                           query and response under one of their names
/// Rows with chosen and rejected answers (preference.h) are read as their chosen side, or as pairs; then rows
/// with one answer are left out.
[[nodiscard]] Row read_row(Json::Object columns, const RowSettings& settings, JsonParser& parser);

/// Whether rows are made of a column of that name, in any case: "answer", not "created_at".
[[nodiscard]] bool is_row_column(std::string_view name);

/// Reads the rows of one file: one parser a thread.
class RowParser {
 public:
  /// Throws InputError where a column that rows are made of is of a type that cannot be read.
  RowParser(const RowFile& file, RowSettings settings);

  /// Throws InputError with file:line:column where the row is no JSON object or not UTF-8, or a record has
  /// more fields than the header. Records with fewer lack the last columns.
  [[nodiscard]] Row parse(const RawRow& row);
  /// "file:line:column" of the row, or "file: row N".
  [[nodiscard]] std::string place(const RawRow& row) const { return file_->place(row); }

 private:
  Json::Object columns_of(const RawRow& row);
  Json::Object object_of(const RawRow& row);
  [[nodiscard]] Json::Object fields_of(const RawRow& row) const;
  void expect_utf8(const RawRow& row) const;

  const RowFile* file_;
  RowSettings settings_;
  JsonParser parser_;
};

}  // namespace moebius::data
