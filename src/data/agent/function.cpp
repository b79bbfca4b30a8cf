#include "data/agent/function.h"

#include "data/rows/dropped.h"
#include "data/rows/json_dump.h"
#include "data/rows/python_repr.h"

namespace moebius::data {
namespace {

/// A member that is neither absent nor null.
const Json* given(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

}  // namespace

const Json& function_of(const Json& tool) {
  const Json* function = tool.find("function");
  const Json& found = function != nullptr && tool.find("type") != nullptr ? *function : tool;
  if (found.object() == nullptr) throw Dropped{DropReason::malformed_tools, "a function is no object"};
  return found;
}

const Json* name_of(const Json& function) {
  const Json* name = function.find("name_for_model");
  return name == nullptr || name->is_empty() ? function.find("name") : name;
}

ToolWords words_of(const Json& tool) {
  const Json& function = function_of(tool);
  const Json* name = name_of(function);
  if (name == nullptr || name->text() == nullptr) throw Dropped{DropReason::malformed_tools, "no name"};
  const Json* description = given(function, "description");
  if (description == nullptr) description = given(function, "description_for_model");
  if (description == nullptr) throw Dropped{DropReason::malformed_tools, "no description"};
  ToolWords words{.name = *name->text(), .description = python_str(*description)};
  const Json* human_name = function.find("name_for_human");
  words.human_name = human_name == nullptr || human_name->is_empty() ? words.name : python_str(*human_name);
  const Json* parameters = function.find("parameters");
  if (parameters == nullptr || parameters->is_empty()) {
    words.parameters = "{}";
  } else {
    words.parameters = parameters->text() != nullptr ? *parameters->text() : json_dump(*parameters);
  }
  return words;
}

const Json::Object& named_arguments(const Message& call) {
  const Json::Object* arguments = call.call->arguments.object();
  if (arguments == nullptr) throw Dropped{DropReason::malformed_tool_call, "arguments without names"};
  return *arguments;
}

}  // namespace moebius::data
