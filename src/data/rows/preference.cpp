#include "data/rows/preference.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <utility>

#include "data/rows/columns.h"
#include "data/rows/messages_form.h"
#include "data/rows/tools.h"

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

/// Messages of `chosen` that both answers follow: up to the last user, or the system text alone.
std::size_t shared_messages(const ChatRow& chosen) {
  const auto last_user = std::find_if(chosen.messages.rbegin(), chosen.messages.rend(),
                                      [](const Message& message) { return message.role == Role::user; });
  const auto before = std::size_t(chosen.messages.rend() - last_user);
  const bool has_system = !chosen.messages.empty() && chosen.messages.front().role == Role::system;
  return std::max<std::size_t>(before, has_system ? 1 : 0);
}

bool are_equal(std::span<const Message> chosen, std::span<const Message> rejected) {
  if (chosen.size() != 1 || rejected.size() != 1) return false;
  const bool are_calls = chosen[0].call || rejected[0].call;
  return !are_calls && chosen[0].content == rejected[0].content;
}

/// "rejected", where there is neither "rejected_response" nor "rejected_messages", becomes the first of them,
/// or, as a whole conversation, the second.
void put_rejected(Json::Object& columns) {
  const bool is_there =
      find_member(columns, "rejected_response") != nullptr || has_value(columns, "rejected_messages");
  if (is_there || !has_value(columns, "rejected")) return;
  Json answer = take_column(columns, "rejected");
  const bool is_whole = answer.array() != nullptr && starts_a_conversation(*answer.array());
  set_member(columns, is_whole ? "rejected_messages" : "rejected_response", std::move(answer));
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

ChatRow rejected_row(const ChatRow& chosen, Json::Object& columns, JsonParser& parser) {
  const bool is_plain = !has_value(columns, "rejected_messages");
  put_rejected(columns);
  if (has_value(columns, "rejected_messages")) {
    ChatRow rejected;
    rejected.tools = is_plain ? chosen.tools : tools_of(take_column(columns, "rejected_tools"), parser);
    rejected.messages = messages_form(take_column(columns, "rejected_messages"), {}, parser);
    return rejected;
  }
  if (!has_value(columns, "rejected_response")) throw Dropped{DropReason::no_rejected, {}};
  const std::size_t shared = shared_messages(chosen);
  const std::span<const Message> messages(chosen.messages);
  const std::vector<Message> answer =
      messages_form(Json(as_messages(take_column(columns, "rejected_response"))), {}, parser);
  if (are_equal(messages.subspan(shared), answer)) throw Dropped{DropReason::malformed_rejected, "equal"};
  ChatRow rejected{.messages = {messages.begin(), messages.begin() + std::ptrdiff_t(shared)},
                   .tools = chosen.tools,
                   .options = chosen.options};
  rejected.messages.insert(rejected.messages.end(), answer.begin(), answer.end());
  return rejected;
}

}  // namespace moebius::data
