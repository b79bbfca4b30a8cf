#include "data/rows/provider_forms.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "data/rows/dropped.h"
#include "data/rows/row.h"

namespace moebius::data {
namespace {

bool text_is(const Json* value, std::string_view text) {
  return value != nullptr && value->text() != nullptr && *value->text() == text;
}

Json text_value(std::string_view text) {
  return Json(std::string(text));
}

/// The flags "loss" and "loss_scale" of `from`, put into `to` as well.
void copy_flags(const Json::Object& from, Json::Object& to) {
  for (const std::string_view flag : {"loss", "loss_scale"}) {
    if (const Json* value = find_member(from, flag)) to.emplace_back(std::string(flag), *value);
  }
}

Json::Object message(std::string_view role, Json content, const Json::Object& flags) {
  Json::Object made;
  made.emplace_back("role", text_value(role));
  made.emplace_back("content", std::move(content));
  copy_flags(flags, made);
  return made;
}

Json call_content(const Json& name, Json arguments) {
  Json::Object content;
  content.emplace_back("name", name);
  content.emplace_back("arguments", std::move(arguments));
  return Json(std::move(content));
}

/// Puts results into the order of their calls: `order[i]` is the id of call i, `id_of` that of a result. Only
/// where the ids match one to one; else the results stay as they are.
template <class Result, class IdOf>
void sort_by_calls(std::span<Result> results, const std::vector<const Json*>& order, IdOf id_of) {
  if (results.size() != order.size()) return;
  std::vector<std::size_t> place(results.size(), results.size());
  for (std::size_t call = 0; call < order.size(); ++call) {
    if (order[call] == nullptr || order[call]->is_null()) return;
    std::size_t matches = 0;
    for (std::size_t i = 0; i < results.size(); ++i) {
      const Json* id = id_of(results[i]);
      if (id != nullptr && *id == *order[call]) place[call] = i, ++matches;
    }
    const bool is_taken = std::find(place.begin(), place.begin() + std::ptrdiff_t(call), place[call]) !=
                          place.begin() + std::ptrdiff_t(call);
    if (matches != 1 || is_taken) return;
  }
  std::vector<Result> sorted;
  sorted.reserve(place.size());
  for (const std::size_t from : place) sorted.push_back(results[from]);
  std::move(sorted.begin(), sorted.end(), results.begin());
}

bool has_calls(const Json::Object& message) {
  const Json* calls = find_member(message, "tool_calls");
  return calls != nullptr && !calls->is_empty();
}

bool is_result(const Json::Object& message) {
  const Json* role = find_member(message, "role");
  return text_is(role, "tool") || text_is(role, "tool_response");
}

Json::Object openai_call(const Json& call, const Json::Object& flags, JsonParser& parser) {
  const Json* function = call.find("function");
  if (function == nullptr) function = &call;
  const Json* name = function->find("name");
  if (name == nullptr) throw Dropped{DropReason::malformed_tool_call, "no name"};
  const Json* given = function->find("arguments");
  Json arguments = given == nullptr ? Json(Json::Object{}) : *given;
  if (const std::string* text = arguments.text()) {
    if (std::optional<Json> value = parser.parse(*text)) arguments = std::move(*value);
  }
  return message("tool_call", call_content(*name, std::move(arguments)), flags);
}

std::vector<Json::Object> from_openai(std::vector<Json::Object> messages, JsonParser& parser) {
  std::vector<Json::Object> made;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    Json::Object& current = messages[i];
    if (!text_is(find_member(current, "role"), "assistant") || !has_calls(current)) {
      made.push_back(std::move(current));
      continue;
    }
    const Json::Array* calls = find_member(current, "tool_calls")->array();
    if (calls == nullptr) throw Dropped{DropReason::malformed_tool_call, "tool_calls is no list"};
    std::size_t end = i + 1;
    while (end < messages.size() && is_result(messages[end])) ++end;
    std::vector<const Json*> ids;
    for (const Json& call : *calls) ids.push_back(call.find("id"));
    sort_by_calls(std::span(messages).subspan(i + 1, end - i - 1), ids,
                  [](const Json::Object& result) { return find_member(result, "tool_call_id"); });
    const Json* content = find_member(current, "content");
    if (content != nullptr && !content->is_empty()) made.push_back(message("assistant", *content, current));
    for (const Json& call : *calls) made.push_back(openai_call(call, current, parser));
  }
  return made;
}

bool type_is(const Json& block, std::string_view type) {
  return text_is(block.find("type"), type);
}

std::string block_text(const Json& block) {
  const Json* text = block.find("text");
  if (text == nullptr) return {};
  if (text->text() == nullptr) throw Dropped{DropReason::content_not_text, "a text block without text"};
  return *text->text();
}

[[noreturn]] void refuse_block(const Json& block) {
  if (type_is(block, "image")) throw Dropped{DropReason::media, "image"};
  const Json* type = block.find("type");
  const std::string* name = type == nullptr ? nullptr : type->text();
  throw Dropped{DropReason::content_not_text,
                fmt::format("a block of type '{}'", name == nullptr ? "" : *name)};
}

Json result_content(const Json& block) {
  const Json* content = block.find("content");
  if (content == nullptr) return text_value("");
  if (content->array() == nullptr) return *content;
  std::string text;
  for (const Json& inner : *content->array()) {
    if (!type_is(inner, "text")) refuse_block(inner);
    text += block_text(inner);
  }
  return Json(std::move(text));
}

/// One message of content blocks -> messages: texts that follow each other are one.
void append_anthropic(const Json::Object& from, const Json::Array& blocks, std::vector<Json::Object>& made) {
  const Json* role = find_member(from, "role");
  std::string pending;
  bool has_text = false;
  const auto flush = [&] {
    if (!has_text) return;
    if (role == nullptr || role->text() == nullptr) {
      throw Dropped{DropReason::malformed_messages, "a message without a role"};
    }
    made.push_back(message(*role->text(), Json(std::exchange(pending, {})), from));
    has_text = false;
  };
  for (const Json& block : blocks) {
    if (type_is(block, "text")) {
      pending += block_text(block);
      has_text = true;
      continue;
    }
    const bool is_call = type_is(block, "tool_use");
    if (!is_call && !type_is(block, "tool_result")) refuse_block(block);
    flush();
    if (!is_call) {
      made.push_back(message("tool_response", result_content(block), from));
      continue;
    }
    const Json* name = block.find("name");
    const Json* input = block.find("input");
    if (name == nullptr) throw Dropped{DropReason::malformed_tool_call, "no name"};
    made.push_back(
        message("tool_call", call_content(*name, input == nullptr ? Json(Json::Object{}) : *input), from));
  }
  flush();
}

std::vector<Json::Object> from_anthropic(std::vector<Json::Object> messages) {
  std::vector<Json::Object> made;
  std::vector<Json> calls;  // tool_use blocks of the message before
  for (Json::Object& current : messages) {
    const Json* content = find_member(current, "content");
    if (content == nullptr || content->array() == nullptr) {
      made.push_back(std::move(current));
      calls.clear();
      continue;
    }
    Json::Array blocks = *content->array();
    const auto first_other = std::find_if(blocks.begin(), blocks.end(),
                                          [](const Json& block) { return !type_is(block, "tool_result"); });
    std::vector<const Json*> ids;
    ids.reserve(calls.size());
    for (const Json& call : calls) ids.push_back(call.find("id"));
    sort_by_calls(std::span(blocks.begin(), first_other), ids,
                  [](const Json& block) { return block.find("tool_use_id"); });
    calls.clear();
    std::copy_if(blocks.begin(), blocks.end(), std::back_inserter(calls),
                 [](const Json& block) { return type_is(block, "tool_use"); });
    append_anthropic(current, blocks, made);
  }
  return made;
}

bool is_anthropic(const Json::Object& message) {
  const Json* content = find_member(message, "content");
  if (content == nullptr || content->array() == nullptr) return false;
  const Json::Array& blocks = *content->array();
  return std::any_of(blocks.begin(), blocks.end(), [](const Json& block) {
    return type_is(block, "tool_use") || type_is(block, "tool_result") ||
           (type_is(block, "image") && block.find("source") != nullptr);
  });
}

}  // namespace

std::vector<Json::Object> from_provider_form(std::vector<Json::Object> messages, JsonParser& parser) {
  if (std::any_of(messages.begin(), messages.end(), has_calls)) {
    return from_openai(std::move(messages), parser);
  }
  if (std::any_of(messages.begin(), messages.end(), is_anthropic)) return from_anthropic(std::move(messages));
  return messages;
}

}  // namespace moebius::data
