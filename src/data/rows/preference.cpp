#include "data/rows/preference.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "data/rows/columns.h"

namespace moebius::data {
namespace {

constexpr std::array<std::string_view, 3> kOpening{"system", "user", "human"};

constexpr std::array<std::string_view, 3> kMessages{"messages", "conversations", "conversation"};

bool starts_a_conversation(const Json::Array& messages) {
  if (messages.empty()) return false;
  const Json* role = messages.front().find("role");
  if (role == nullptr) role = messages.front().find("from");
  if (role == nullptr || role->text() == nullptr) return false;
  return std::find(kOpening.begin(), kOpening.end(), *role->text()) != kOpening.end();
}

Json::Array as_messages(Json answer) {
  if (auto* list = answer.as<Json::Array>()) return std::move(*list);
  Json::Array messages;
  if (answer.object() != nullptr) {
    messages.push_back(std::move(answer));
  } else {
    Json::Object message;
    message.emplace_back("role", Json(std::string("assistant")));
    message.emplace_back("content", std::move(answer));
    messages.emplace_back(std::move(message));
  }
  return messages;
}

/// What the answer follows: the row's messages, or its prompt where that is a list or the answer is one.
Json::Array take_context(Json::Object& columns) {
  for (const std::string_view name : kMessages) {
    Json value = take_column(columns, name);
    if (auto* list = value.as<Json::Array>()) return std::move(*list);
  }
  for (const std::string_view name : {"prompt", "query"}) {
    Json value = take_column(columns, name);
    if (value.is_null()) continue;
    if (auto* list = value.as<Json::Array>()) return std::move(*list);
    Json::Object message;
    message.emplace_back("role", Json(std::string("user")));
    message.emplace_back("content", std::move(value));
    return {Json(std::move(message))};
  }
  return {};
}

}  // namespace

void put_chosen(Json::Object& columns) {
  if (!has_value(columns, "chosen") || has_value(columns, "response")) return;
  Json answer = take_column(columns, "chosen");
  const bool has_messages = std::any_of(kMessages.begin(), kMessages.end(),
                                        [&](std::string_view name) { return has_value(columns, name); });
  const Json* prompt = find_member(columns, "prompt");
  const bool is_text = answer.array() == nullptr && answer.object() == nullptr;
  if (is_text && !has_messages && (prompt == nullptr || prompt->array() == nullptr)) {
    set_member(columns, "response", std::move(answer));
    return;
  }
  const bool is_whole = answer.array() != nullptr && starts_a_conversation(*answer.array());
  Json::Array context = take_context(columns);
  Json::Array messages = is_whole ? Json::Array{} : std::move(context);
  for (Json& message : as_messages(std::move(answer))) messages.push_back(std::move(message));
  set_member(columns, "messages", Json(std::move(messages)));
}

void check_rejected(const Json::Object& columns, const std::vector<Message>& messages) {
  const Json* rejected = find_member(columns, "rejected_response");
  if (rejected == nullptr) return;
  if (rejected->is_null()) throw Dropped{DropReason::malformed_rejected, "null"};
  if (const std::string* text = rejected->text()) {
    if (*text == messages.back().content) throw Dropped{DropReason::malformed_rejected, "equal"};
    return;
  }
  if (rejected->array() == nullptr) throw Dropped{DropReason::malformed_rejected, "neither text nor a list"};
  for (const Json& message : *rejected->array()) {
    const Json* role = message.find("role");
    if (role == nullptr || *role == Json(std::string("user"))) {
      throw Dropped{DropReason::malformed_rejected, "a user message, or one without a role"};
    }
  }
}

}  // namespace moebius::data
