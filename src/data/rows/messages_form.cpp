#include "data/rows/messages_form.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "data/rows/message_text.h"
#include "data/rows/provider_forms.h"

namespace moebius::data {
namespace {

std::vector<Json::Object> objects_of(Json messages, JsonParser& parser) {
  if (const std::string* text = messages.text()) {
    std::optional<Json> value = loose_value(*text, parser);
    if (!value)
      throw Dropped{DropReason::malformed_messages, "text that is neither JSON nor a Python literal"};
    messages = std::move(*value);
  }
  if (messages.is_empty()) throw Dropped{DropReason::no_messages, {}};
  auto* list = messages.as<Json::Array>();
  if (list == nullptr) throw Dropped{DropReason::malformed_messages, "no list"};
  std::vector<Json::Object> objects;
  objects.reserve(list->size());
  for (Json& message : *list) {
    auto* object = message.as<Json::Object>();
    if (object == nullptr) throw Dropped{DropReason::malformed_messages, "a message that is no object"};
    objects.push_back(std::move(*object));
  }
  return objects;
}

/// Gives the value of the last present key of `keys` the name `name`, and removes the others.
void gather(Json::Object& message, std::string_view name, std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) {
    if (key == name) continue;
    if (std::optional<Json> value = take_member(message, key)) {
      set_member(message, std::string(name), std::move(*value));
    }
  }
}

Json::Object message(std::string_view role, Json content) {
  Json::Object made;
  made.emplace_back("role", Json(std::string(role)));
  made.emplace_back("content", std::move(content));
  return made;
}

/// {"human": .., "gpt": ..} -> a user and an assistant message.
std::vector<Json::Object> from_pairs(std::vector<Json::Object> pairs) {
  std::vector<Json::Object> messages;
  for (Json::Object& pair : pairs) {
    gather(pair, "user", {"user", "human"});
    gather(pair, "assistant", {"assistant", "gpt", "bot"});
    for (const std::string_view speaker : {"user", "assistant"}) {
      std::optional<Json> content = take_member(pair, speaker);
      if (!content) throw Dropped{DropReason::malformed_messages, "neither role and content nor a pair"};
      messages.push_back(message(speaker, std::move(*content)));
    }
  }
  return messages;
}

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// Our name of a role that goes by another.
std::string usual_role(std::string role) {
  if (role == "human") return "user";
  if (role == "gpt" || role == "bot") return "assistant";
  std::string spelled = role;
  std::replace(spelled.begin(), spelled.end(), '-', '_');
  if (spelled == "function_call") return "tool_call";
  if (is_one_of(spelled, {"function_response", "observation", "observations"})) return "tool_response";
  return role;
}

}  // namespace

std::vector<Message> messages_form(Json given, Json system, JsonParser& parser) {
  std::vector<Json::Object> messages = from_provider_form(objects_of(std::move(given), parser), parser);
  for (Json::Object& each : messages) {
    gather(each, "role", {"role", "from"});
    gather(each, "content", {"content", "value"});
  }
  if (messages.empty()) throw Dropped{DropReason::no_messages, {}};
  const Json::Object& first = messages.front();
  const bool is_short = find_member(first, "role") == nullptr && find_member(first, "content") == nullptr;
  if (is_short) messages = from_pairs(std::move(messages));
  for (Json::Object& each : messages) {
    std::optional<Json> role = take_member(each, "role");
    if (role && role->text() != nullptr) role = Json(usual_role(*role->text()));
    if (role) set_member(each, "role", std::move(*role));
  }
  const Json* first_role = find_member(messages.front(), "role");
  const bool has_system = first_role != nullptr && *first_role == Json(std::string("system"));
  if (!system.is_null() && !has_system) {
    messages.insert(messages.begin(), message("system", std::move(system)));
  }
  std::vector<Message> made;
  made.reserve(messages.size());
  for (Json::Object& each : messages) made.push_back(message_of(std::move(each), parser));
  return made;
}

}  // namespace moebius::data
