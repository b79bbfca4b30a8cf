#include "data/agent/hermes.h"

#include <fmt/format.h>

#include "data/agent/function.h"
#include "data/rows/json_dump.h"
#include "data/rows/python_text.h"

namespace moebius::data::hermes {
namespace {

constexpr std::string_view kQuery = "{{QUERY}}";

constexpr std::string_view kBeforeTools =
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n";
constexpr std::string_view kAfterTools =
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    "<tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": "
    "<args-json-object>}\n</tool_call>";
constexpr std::string_view kAfterHunyuanTools =
    "\n</tools>\n\nFor function call returns, you should first print <tool_calls>For each function call, you "
    "should return object like:\n<tool_call>function_name\n```json\nfunction_arguments_in_json_format\n"
    "```</tool_call>At the end of function call returns, you should print </tool_calls>";

std::string lines_of(std::span<const Json> tools) {
  return joined(tools, "\n", json_dump);
}

std::string responses(Messages results) {
  return joined(results, "\n", [](const Message& result) {
    return fmt::format("<tool_response>\n{}\n</tool_response>", result.content);
  });
}

std::string hunyuan_responses(Messages results) {
  const std::string each = joined(results, "\n", [](const Message& result) {
    return fmt::format("<tool_response>{}</tool_response>", result.content);
  });
  return fmt::format("<tool_responses>{}</tool_responses>", each);
}

}  // namespace

std::string tools(std::span<const Json> tools, const std::optional<std::string>& system) {
  return fmt::format("{}\n\n{}{}{}", system.value_or(""), kBeforeTools, lines_of(tools), kAfterTools);
}

std::string calls(Messages calls) {
  return joined(calls, "\n", [](const Message& message) {
    Json::Object call;
    call.emplace_back("name", Json(message.call->name));
    call.emplace_back("arguments", message.call->arguments);
    return fmt::format("<tool_call>\n{}\n</tool_call>", json_dump(Json(std::move(call))));
  });
}

std::vector<std::string> results(const Template& style, Messages results) {
  return turn_of(style, responses(results));
}

std::string standalone(const Template& style, Messages results) {
  return standalone_turn_of(style, responses(results));
}

std::string hunyuan_tools(std::span<const Json> tools, const std::optional<std::string>& system) {
  const bool has_system = system && !system->empty();
  return fmt::format("{}{}{}{}", has_system ? *system + "\n\n" : "", kBeforeTools, lines_of(tools),
                     kAfterHunyuanTools);
}

std::string hunyuan_calls(Messages messages) {
  return fmt::format("<tool_calls>\n{}\n</tool_calls>", calls(messages));
}

std::vector<std::string> hunyuan_results(const Template& style, Messages results) {
  return turn_of(style, hunyuan_responses(results));
}

std::string hunyuan_standalone(const Template& style, Messages results) {
  return standalone_turn_of(style, hunyuan_responses(results));
}

std::vector<std::string> turn_of(const Template& style, std::string_view responses) {
  std::string turn(style.prompt);
  replace_all(turn, kQuery, responses);
  return {std::string(style.separator), std::move(turn)};
}

std::string standalone_turn_of(const Template& style, std::string_view responses) {
  std::string text(style.separator);
  text += style.prompt.substr(0, style.prompt.find(kQuery));
  text += responses;
  return text;
}

}  // namespace moebius::data::hermes
