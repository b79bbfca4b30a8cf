#pragma once
#include <string>
#include <string_view>

#include "data/rows/json.h"
#include "data/rows/row.h"

/// A tool's schema, read as ms-swift's agent templates read it.
namespace moebius::data {

/// The function of {"type": .., "function": ..}, or the schema itself. Throws Dropped{malformed_tools} where
/// that is no object.
[[nodiscard]] const Json& function_of(const Json& tool);

/// "name_for_model", unless there is none or it is empty; else "name". nullptr where there is neither.
[[nodiscard]] const Json* name_of(const Json& function);

/// What ReAct's and Qwen's templates tell of a tool. A name and a description (or "description_for_model")
/// must be there.
struct ToolWords {
  std::string name, human_name, description;
  std::string parameters;  // as JSON
};
[[nodiscard]] ToolWords words_of(const Json& tool);

/// The arguments of a call as an object. Throws Dropped{malformed_tool_call} for anything else.
[[nodiscard]] const Json::Object& named_arguments(const Message& call);

/// "a, b" of {a, b} and ", ".
template <class Items, class TextOf>
std::string joined(const Items& items, std::string_view separator, const TextOf& text_of) {
  std::string text;
  bool is_first = true;
  for (const auto& item : items) {
    if (!is_first) text += separator;
    text += text_of(item);
    is_first = false;
  }
  return text;
}

}  // namespace moebius::data
