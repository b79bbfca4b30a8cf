#include "data/rows/row.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <utility>

#include "base/error.h"
#include "data/rows/columns.h"
#include "data/rows/csv.h"
#include "data/rows/message_text.h"
#include "data/rows/messages_form.h"
#include "data/rows/preference.h"
#include "data/rows/python_text.h"
#include "data/rows/response_form.h"
#include "data/rows/token_row.h"
#include "data/rows/tools.h"
#include "data/tokenizer/unicode.h"

namespace moebius::data {
namespace {

constexpr std::array<std::string_view, 7> kMedia{"images", "image", "audios", "audio",
                                                 "videos", "video", "objects"};

constexpr std::array<std::string_view, 13> kOtherColumns{"history",
                                                         "tools",
                                                         "chat_template_kwargs",
                                                         "chosen",
                                                         "rejected",
                                                         "rejected_response",
                                                         "rejected_messages",
                                                         "margin",
                                                         "input_ids",
                                                         "labels",
                                                         "label",
                                                         "loss_scale",
                                                         "rejected_tools"};

constexpr std::array<ColumnName, 5> kChatNames{{{"messages", "messages"},
                                                {"conversation", "messages"},
                                                {"conversations", "messages"},
                                                {"system", "system"},
                                                {"system_prompt", "system"}}};

void rename_by_job(Json::Object& columns, const RowSettings& settings) {
  if (settings.columns.empty()) return;
  std::vector<std::string> lower;
  lower.reserve(settings.columns.size());
  std::vector<ColumnName> names;
  for (const auto& [from, to] : settings.columns) {
    std::string& name = lower.emplace_back(from);
    for (char& letter : name) letter = letter >= 'A' && letter <= 'Z' ? char(letter - 'A' + 'a') : letter;
    names.emplace_back(name, to);
  }
  if (columns_clash(columns, names)) throw Dropped{DropReason::clashing_columns, {}};
  rename_columns(columns, names);
}

void refuse_media(const Json::Object& columns) {
  for (const std::string_view name : kMedia) {
    const Json* value = find_member(columns, name);
    if (value != nullptr && !value->is_empty()) throw Dropped{DropReason::media, std::string(name)};
  }
}

std::vector<Message> messages_of(Json::Object& columns, JsonParser& parser) {
  for (const std::string_view name : {"conversation", "conversations", "messages"}) {
    if (!has_value(columns, name)) continue;
    rename_columns(columns, kChatNames);
    return messages_form(take_column(columns, "messages"), take_column(columns, "system"), parser);
  }
  return response_form(columns);
}

ChatOptions options_of(const Json::Object& columns) {
  ChatOptions options;
  const Json* given = find_member(columns, "chat_template_kwargs");
  if (given == nullptr || given->is_empty()) return options;
  if (given->object() == nullptr) {
    throw Dropped{DropReason::malformed_flags, "chat_template_kwargs is no object"};
  }
  options.enable_thinking = switch_of(given->find("enable_thinking"));
  options.preserve_thinking = switch_of(given->find("preserve_thinking"));
  const Json* prefix = given->find("response_prefix");
  if (prefix != nullptr && !prefix->is_null()) {
    if (prefix->text() == nullptr) {
      throw Dropped{DropReason::malformed_flags, "response_prefix is no text"};
    }
    options.response_prefix = *prefix->text();
  }
  return options;
}

void fill_names(std::vector<Message>& messages, const RowSettings& settings) {
  const std::array<std::pair<std::string_view, std::string_view>, 2> fillings{
      {{"{{NAME}}", settings.model_name}, {"{{AUTHOR}}", settings.model_author}}};
  for (Message& message : messages) {
    if (message.role != Role::user && message.role != Role::assistant) continue;
    for (const auto& [placeholder, value] : fillings) {
      if (!value.empty()) replace_all(message.content, placeholder, value);
    }
  }
}

Row chat_row(Json::Object columns, const RowSettings& settings, JsonParser& parser) {
  refuse_media(columns);
  put_chosen(columns);
  ChatRow row;
  row.tools = tools_of(take_column(columns, "tools"), parser);
  row.options = options_of(columns);
  row.messages = messages_of(columns, parser);
  check_rejected(columns, row.messages);
  if (settings.answers == Answers::one) {
    fill_names(row.messages, settings);
    return row;
  }
  ChatRow rejected = rejected_row(row, columns, parser);
  for (ChatRow* side : {&row, &rejected}) fill_names(side->messages, settings);
  return Pair<ChatRow>{std::move(row), std::move(rejected)};
}

/// A side of a pair that is encoded already; null where it is not.
const Json::Object* encoded_side(const Json::Object& columns, std::string_view name) {
  const Json* side = find_member(columns, name);
  const bool is_encoded = side != nullptr && side->find("input_ids") != nullptr;
  return is_encoded ? side->object() : nullptr;
}

Row encoded_row(const Json::Object& chosen, const Json::Object* rejected, Answers answers) {
  if (answers == Answers::one) return token_row(chosen);
  if (rejected == nullptr) throw Dropped{DropReason::no_rejected, "only the chosen one is encoded"};
  return Pair<TokenRow>{token_row(chosen), token_row(*rejected)};
}

}  // namespace

Row read_row(Json::Object columns, const RowSettings& settings, JsonParser& parser) {
  try {
    rename_by_job(columns, settings);
    if (has_value(columns, "input_ids")) {
      if (settings.answers == Answers::pair) throw Dropped{DropReason::no_rejected, {}};
      return token_row(columns);
    }
    if (const Json::Object* chosen = encoded_side(columns, "chosen"))
      return encoded_row(*chosen, encoded_side(columns, "rejected"), settings.answers);
    return chat_row(std::move(columns), settings, parser);
  } catch (const Dropped& dropped) {
    return dropped;
  }
}

bool is_row_column(std::string_view name) {
  std::string lower(name);
  for (char& letter : lower) letter = letter >= 'A' && letter <= 'Z' ? char(letter - 'A' + 'a') : letter;
  const auto is_it = [&](const ColumnName& known) { return known.first == lower; };
  const auto names = response_names();
  return std::any_of(names.begin(), names.end(), is_it) ||
         std::any_of(kChatNames.begin(), kChatNames.end(), is_it) ||
         std::find(kMedia.begin(), kMedia.end(), lower) != kMedia.end() ||
         std::find(kOtherColumns.begin(), kOtherColumns.end(), lower) != kOtherColumns.end();
}

RowParser::RowParser(const RowFile& file, RowSettings settings)
    : file_(&file), settings_(std::move(settings)) {
  if (file.column_file() == nullptr) return;
  for (const ColumnFile::Unreadable& column : file.column_file()->unreadable()) {
    const auto renamed = settings_.columns.find(column.name);
    const std::string& name = renamed == settings_.columns.end() ? column.name : renamed->second;
    if (!is_row_column(name)) continue;
    throw InputError(
        fmt::format("{}: column '{}' is of type {}, which no row can be made of (write it as text, numbers, "
                    "lists or structs)",
                    file.path().string(), column.name, column.type));
  }
}

Row RowParser::parse(const RawRow& row) {
  return read_row(columns_of(row), settings_, parser_);
}

Json::Object RowParser::columns_of(const RawRow& row) {
  switch (file_->format()) {
    case RowFormat::parquet: return row.batch->columns(row.index);
    case RowFormat::csv: return fields_of(row);
    case RowFormat::text_lines: {
      expect_utf8(row);
      Json::Object columns;
      columns.emplace_back("text", Json(std::string(row.text)));
      return columns;
    }
    default: return object_of(row);
  }
}

Json::Object RowParser::object_of(const RawRow& row) {
  std::optional<Json> value = parser_.parse(row.text);
  if (!value) {
    const JsonFault fault = json_fault(row.text);
    throw InputError(fmt::format("{} not JSON: {}", file_->place(row.offset + fault.offset), fault.reason));
  }
  auto* columns = value->as<Json::Object>();
  if (columns == nullptr) {
    throw InputError(
        fmt::format("{} a row must be an object {{\"column\": value, ..}}", file_->place(row.offset)));
  }
  return std::move(*columns);
}

Json::Object RowParser::fields_of(const RawRow& row) const {
  expect_utf8(row);
  std::vector<std::string> fields = csv_fields(row.text);
  const std::vector<std::string>& names = file_->columns();
  if (fields.size() > names.size()) {
    throw InputError(fmt::format("{} {} fields, but the header names {} columns", file_->place(row.offset),
                                 fields.size(), names.size()));
  }
  Json::Object columns;
  for (std::size_t i = 0; i < fields.size(); ++i) set_member(columns, names[i], Json(std::move(fields[i])));
  return columns;
}

void RowParser::expect_utf8(const RawRow& row) const {
  if (!is_valid_utf8(row.text)) throw InputError(place(row) + " not UTF-8");
}

}  // namespace moebius::data
