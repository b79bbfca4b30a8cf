#include "data/agent/deepseek.h"

#include <fmt/format.h>

#include "data/agent/function.h"
#include "data/rows/json_dump.h"
#include "data/rows/python_repr.h"

namespace moebius::data::deepseek {
namespace {

constexpr std::string_view kHowToCall =
    "IMPORTANT: ALWAYS adhere to this exact format for tool use:\n"
    "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>tool_call_name<｜tool▁sep｜>tool_call_arguments"
    "<｜tool▁call▁end｜>{additional_tool_calls}<｜tool▁calls▁end｜>\n\n"
    "Where:\n"
    "- `tool_call_name` must be an exact match to one of the available tools\n"
    "- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema\n"
    "- For multiple tool calls, chain them directly without separators or spaces";

std::string tool_text(const Json& tool) {
  const Json& function = function_of(tool);
  const Json* name = name_of(function);
  const Json* description = function.find("description");
  const Json* parameters = function.find("parameters");
  return fmt::format("### {}\nDescription: {}\n\nParameters: {}",
                     python_str(name == nullptr ? Json() : *name),
                     description == nullptr ? "" : python_str(*description),
                     parameters == nullptr ? "{}" : json_dump(*parameters));
}

}  // namespace

std::string tools(std::span<const Json> tools, const std::optional<std::string>& system) {
  return fmt::format("{}\n\n## Tools\nYou have access to the following tools:\n\n{}\n\n{}",
                     system.value_or(""), joined(tools, "\n\n", tool_text), kHowToCall);
}

std::string calls(Messages calls) {
  const std::string each = joined(calls, "", [](const Message& message) {
    return fmt::format("<｜tool▁call▁begin｜>{}<｜tool▁sep｜>{}<｜tool▁call▁end｜>", message.call->name,
                       json_dump(message.call->arguments));
  });
  return fmt::format("<｜tool▁calls▁begin｜>{}<｜tool▁calls▁end｜>", each);
}

std::vector<std::string> results(const Template& /*style*/, Messages results) {
  return {"<｜end▁of▁sentence｜>", joined(results, "", [](const Message& result) {
            return fmt::format("<｜tool▁output▁begin｜>{}<｜tool▁output▁end｜>", result.content);
          })};
}

}  // namespace moebius::data::deepseek
