#include "data/rows/response_form.h"

#include <array>
#include <utility>

#include "data/rows/columns.h"
#include "data/rows/message_text.h"
#include "data/rows/python_literal.h"

namespace moebius::data {
namespace {

constexpr std::array<ColumnName, 19> kNames{{
    {"system", "system"},     {"system_prompt", "system"}, {"query", "query"},      {"prompt", "query"},
    {"input", "query"},       {"instruction", "query"},    {"question", "query"},   {"problem", "query"},
    {"response", "response"}, {"answer", "response"},      {"output", "response"},  {"targets", "response"},
    {"target", "response"},   {"answer_key", "response"},  {"answers", "response"}, {"solution", "response"},
    {"text", "response"},     {"completion", "response"},  {"content", "response"},
}};

/// instruction + "\n" + input, or the one of them that is not empty.
Json alpaca_query(Json instruction, Json input) {
  if (instruction.is_empty()) {
    if (input.is_null()) throw Dropped{DropReason::no_messages, "neither instruction nor input"};
    return input;
  }
  if (input.is_empty()) return instruction;
  return Json(text_of(std::move(instruction)) + "\n" + text_of(std::move(input)));
}

void append(Role role, Json content, std::vector<Message>& messages) {
  if (!content.is_null()) messages.push_back({.role = role, .content = text_of(std::move(content))});
}

void append_history(Json history, std::vector<Message>& messages) {
  if (history.is_empty()) return;
  if (const std::string* text = history.text()) history = python_literal(*text).value_or(Json());
  auto* pairs = history.as<Json::Array>();
  if (pairs == nullptr) throw Dropped{DropReason::malformed_history, "no list of pairs"};
  for (Json& pair : *pairs) {
    auto* halves = pair.as<Json::Array>();
    if (halves == nullptr || halves->size() < 2) throw Dropped{DropReason::malformed_history, "no pair"};
    append(Role::user, std::move((*halves)[0]), messages);
    append(Role::assistant, std::move((*halves)[1]), messages);
  }
}

}  // namespace

std::span<const ColumnName> response_names() {
  return kNames;
}

std::vector<Message> response_form(Json::Object& columns) {
  const bool is_alpaca =
      find_member(columns, "instruction") != nullptr && find_member(columns, "input") != nullptr;
  rename_columns(columns, kNames);
  Json response = take_column(columns, "response");
  Json query = take_column(columns, "query");
  if (is_alpaca) {
    Json output = take_column(columns, "output");
    if (!output.is_null()) response = std::move(output);
    query = alpaca_query(take_column(columns, "instruction"), take_column(columns, "input"));
  }
  if (auto* answers = response.as<Json::Array>()) {
    if (answers->empty()) throw Dropped{DropReason::no_messages, "the list of responses is empty"};
    response = Json(std::move(answers->front()));
  }
  std::vector<Message> messages;
  append(Role::system, take_column(columns, "system"), messages);
  append_history(take_column(columns, "history"), messages);
  append(Role::user, std::move(query), messages);
  append(Role::assistant, std::move(response), messages);
  if (messages.empty()) throw Dropped{DropReason::no_messages, "neither query nor response"};
  return messages;
}

}  // namespace moebius::data
