#include "data/rows/tools.h"

#include <algorithm>
#include <array>
#include <utility>

#include "data/rows/message_text.h"

namespace moebius::data {
namespace {

// A schema's keys under which a null is meant, items may be null, and keys are names.
constexpr std::array<std::string_view, 2> kNullValue{"default", "const"};
constexpr std::array<std::string_view, 2> kNullItem{"enum", "examples"};
constexpr std::array<std::string_view, 6> kNames{"properties",  "patternProperties", "$defs",
                                                 "definitions", "dependentSchemas",  "dependencies"};

template <std::size_t N>
bool is_one_of(std::string_view key, const std::array<std::string_view, N>& keys) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

/// A schema without the nulls that columnar files put where a tool lacks a key that others have. A null is
/// meant only as the value of default and const, under x- keys, and inside enum and examples.
Json without_padding(Json schema) {
  if (auto* items = schema.as<Json::Array>()) {
    for (Json& item : *items) item = without_padding(std::move(item));
    return schema;
  }
  auto* members = schema.as<Json::Object>();
  if (members == nullptr) return schema;
  Json::Object kept;
  for (auto& [key, value] : *members) {
    const bool is_verbatim = is_one_of(key, kNullValue) || key.starts_with("x-");
    if (value.is_null() && !is_verbatim) continue;
    if (is_one_of(key, kNames) && value.object() != nullptr) {
      Json::Object named;  // these keys are names that the user chose: none of them is special
      for (auto& [name, inner] : *value.as<Json::Object>()) {
        if (!inner.is_null()) named.emplace_back(std::move(name), without_padding(std::move(inner)));
      }
      value = Json(std::move(named));
    } else if (!is_verbatim && !is_one_of(key, kNullItem)) {
      value = without_padding(std::move(value));
    }
    kept.emplace_back(std::move(key), std::move(value));
  }
  return Json(std::move(kept));
}

Json wrapped(Json tool) {
  if (tool.object() == nullptr) throw Dropped{DropReason::malformed_tools, "a tool is no object"};
  if (tool.find("type") != nullptr || tool.find("function") != nullptr) return tool;
  Json::Object outer;
  outer.emplace_back("type", Json(std::string("function")));
  outer.emplace_back("function", std::move(tool));
  return Json(std::move(outer));
}

}  // namespace

std::vector<Json> tools_of(Json column, JsonParser& parser) {
  if (const std::string* text = column.text()) {
    if (text->empty()) return {};
    if (std::optional<Json> value = parser.parse(*text)) column = std::move(*value);
  }
  if (column.is_null()) return {};
  Json::Array tools;
  if (auto* list = column.as<Json::Array>()) {
    tools = std::move(*list);
  } else {
    tools.push_back(std::move(column));
  }
  for (Json& tool : tools) {
    if (const std::string* text = tool.text()) tool = loose_value(*text, parser).value_or(Json());
    tool = wrapped(without_padding(std::move(tool)));
  }
  return tools;
}

ToolCall tool_call_of(const Json& content, JsonParser& parser) {
  std::optional<Json> parsed;
  if (content.text() != nullptr) {
    parsed = loose_value(*content.text(), parser);
    if (!parsed) throw Dropped{DropReason::malformed_tool_call, "neither JSON nor a Python literal"};
  }
  const Json& call = parsed ? *parsed : content;
  const Json* name = call.find("name");
  if (name == nullptr || name->text() == nullptr) throw Dropped{DropReason::malformed_tool_call, "no name"};
  const Json* arguments = call.find("arguments");
  if (arguments == nullptr || arguments->is_null()) arguments = call.find("parameters");
  Json value = arguments == nullptr ? Json() : *arguments;
  if (const std::string* text = value.text()) value = loose_value(*text, parser).value_or(Json());
  if (value.is_null()) throw Dropped{DropReason::malformed_tool_call, "no arguments"};
  return {*name->text(), std::move(value)};
}

}  // namespace moebius::data
