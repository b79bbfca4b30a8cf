#include "data/agent/qwen_coder.h"

#include <algorithm>
#include <fmt/format.h>

#include "data/agent/function.h"
#include "data/agent/hermes.h"
#include "data/rows/dropped.h"
#include "data/rows/json_dump.h"
#include "data/rows/python_repr.h"
#include "data/rows/python_text.h"

namespace moebius::data::qwen_coder {
namespace {

constexpr std::string_view kWhoIsQwen =
    "You are Qwen, a helpful AI assistant that can interact with a computer to solve tasks.";

constexpr std::string_view kBeforeTools = "# Tools\n\nYou have access to the following functions:\n\n<tools>";

constexpr std::string_view kAfterTools =
    "</tools>\n\nIf you choose to call a function ONLY reply in the following format with NO suffix:\n\n"
    "<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>\nvalue_1\n</parameter>\n"
    "<parameter=example_parameter_2>\nThis is the value for the second parameter\nthat can span\n"
    "multiple lines\n</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\nReminder:\n"
    "- Function calls MUST follow the specified format: an inner <function=...></function> block must be "
    "nested within <tool_call></tool_call> XML tags\n"
    "- Required parameters MUST be specified\n"
    "- You may provide optional reasoning for your function call in natural language BEFORE the function "
    "call, but NOT after\n"
    "- If there is no function call available, answer the question like normal with your current knowledge "
    "and do not tell the user about function calls\n</IMPORTANT>";

/// The text under "description", without white space around it.
std::string_view description_of(const Json& description) {
  if (description.text() == nullptr) throw Dropped{DropReason::malformed_tools, "a description is no text"};
  return strip(*description.text());
}

/// Members that have no words of their own: "\n<key>value as JSON</key>" each.
std::string other_members(const Json& object, std::initializer_list<std::string_view> known) {
  std::string text;
  if (object.object() == nullptr) return text;
  for (const auto& [key, value] : *object.object()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    text += fmt::format("\n<{0}>{1}</{0}>", key, json_dump(value));
  }
  return text;
}

std::string parameter_text(const Json::Member& parameter) {
  const auto& [name, schema] = parameter;
  if (schema.object() == nullptr) {
    throw Dropped{DropReason::malformed_tools, fmt::format("the schema of '{}' is no object", name)};
  }
  std::string text = fmt::format("\n<parameter>\n<name>{}</name>", name);
  if (const Json* type = schema.find("type")) text += fmt::format("\n<type>{}</type>", python_str(*type));
  if (const Json* description = schema.find("description")) {
    text += fmt::format("\n<description>{}</description>", description_of(*description));
  }
  return text + other_members(schema, {"name", "type", "description"}) + "\n</parameter>";
}

std::string tool_text(const Json& tool) {
  const Json* inner = tool.find("function");
  const Json& function = inner == nullptr ? tool : *inner;
  const Json* name = function.find("name");
  if (name == nullptr) throw Dropped{DropReason::malformed_tools, "no name"};
  std::string text = fmt::format("<function>\n<name>{}</name>", python_str(*name));
  if (const Json* description = function.find("description")) {
    text += fmt::format("\n<description>{}</description>", description_of(*description));
  }
  text += "\n<parameters>";
  if (const Json* parameters = function.find("parameters")) {
    const Json* properties = parameters->find("properties");
    if (properties != nullptr && properties->object() != nullptr) {
      text += joined(*properties->object(), "", parameter_text);
    }
    text += other_members(*parameters, {"type", "properties"});
  }
  text += "\n</parameters>";
  return text + other_members(function, {"type", "name", "description", "parameters"}) + "\n</function>";
}

std::string argument_text(const Json& value) {
  const bool is_plain = value.text() != nullptr || value.as<Json::Number>() != nullptr;
  return is_plain ? python_str(value) : json_dump(value);
}

std::string call_text(const Message& message) {
  std::string text = fmt::format("<tool_call>\n<function={}>\n", message.call->name);
  if (!message.call->arguments.is_empty()) {
    for (const auto& [name, value] : named_arguments(message)) {
      text += fmt::format("<parameter={}>\n{}\n</parameter>\n", name, argument_text(value));
    }
  }
  return text + "</function>\n</tool_call>";
}

std::string responses(Messages results) {
  return joined(results, "", [](const Message& result) {
    return fmt::format("<tool_response>\n{}\n</tool_response>\n", result.content);
  });
}

}  // namespace

std::string tools(std::span<const Json> tools, const std::optional<std::string>& system) {
  return fmt::format("{}\n\n{}\n{}\n{}", system ? std::string_view(*system) : kWhoIsQwen, kBeforeTools,
                     joined(tools, "\n", tool_text), kAfterTools);
}

std::string tools_before_system(std::span<const Json> tools, const std::optional<std::string>& system) {
  std::string text = fmt::format("{}\n{}\n{}", kBeforeTools, joined(tools, "\n", json_dump), kAfterTools);
  if (system && !system->empty()) text += "\n\n" + *system;
  return text;
}

std::string calls(Messages calls) {
  return joined(calls, "\n", call_text);
}

std::string_view before_calls(std::string& text) {
  text = std::string(strip(text));
  return text.empty() ? "" : "\n\n";
}

std::string_view before_calls_after_thought(std::string& text) {
  constexpr std::string_view closing = "</think>";
  std::string_view said = text;
  if (const auto close = said.rfind(closing); close != std::string_view::npos) {
    said.remove_prefix(close + closing.size());
  }
  return strip(said).empty() ? "" : "\n\n";
}

std::vector<std::string> results(const Template& style, Messages results) {
  return hermes::turn_of(style, responses(results));
}

std::string standalone(const Template& style, Messages results) {
  return hermes::standalone_turn_of(style, responses(results));
}

}  // namespace moebius::data::qwen_coder
