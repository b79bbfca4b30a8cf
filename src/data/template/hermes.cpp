#include "data/template/hermes.h"

#include <algorithm>

#include "data/rows/json_dump.h"
#include "data/rows/python_text.h"

namespace moebius::data::hermes {
namespace {

constexpr std::string_view kAction = "Action:";
constexpr std::string_view kActionInput = "Action Input:";
constexpr std::string_view kObservation = "Observation:";
constexpr std::string_view kQuery = "{{QUERY}}";

constexpr std::string_view kBeforeTools =
    "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n";
constexpr std::string_view kAfterTools =
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    "<tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": "
    "<args-json-object>}\n</tool_call>";

std::string responses(std::span<const Message> results) {
  std::string text;
  for (const Message& result : results) {
    if (!text.empty()) text += '\n';
    text += "<tool_response>\n" + result.content + "\n</tool_response>";
  }
  return text;
}

bool speaks_react(std::string_view text) {
  return text.find(kAction) != std::string_view::npos && text.find(kActionInput) != std::string_view::npos;
}

/// An answer of several segments counts only if two of them are the words themselves: ms-swift asks a list
/// for membership there.
bool speaks_react(const std::vector<Segment>& answer) {
  if (!speaks_react(answer.back().text)) return false;
  const auto holds = [&](std::string_view word) {
    return std::any_of(answer.begin(), answer.end(), [&](const Segment& each) { return each.text == word; });
  };
  return answer.size() == 1 || (holds(kAction) && holds(kActionInput));
}

std::vector<std::string> react_results(std::string& answer, std::span<const Message> results) {
  if (!answer.ends_with(kObservation)) {
    if (!answer.ends_with('\n')) answer += '\n';
    answer += kObservation;
  }
  std::vector<std::string> contexts;
  for (const Message& result : results) {
    if (&result != results.data()) contexts.emplace_back(kObservation);
    contexts.push_back(result.content);
    if (!result.content.ends_with('\n')) contexts.emplace_back("\n");
  }
  return contexts;
}

}  // namespace

std::string system_with_tools(std::string_view system, std::span<const Json> tools) {
  std::string text(system);
  text += kBeforeTools;
  for (const Json& tool : tools) {
    if (&tool != tools.data()) text += '\n';
    text += json_dump(tool);
  }
  text += kAfterTools;
  return text;
}

std::string calls(std::span<const Message> calls) {
  std::string text;
  for (const Message& message : calls) {
    Json::Object call;
    call.emplace_back("name", Json(message.call->name));
    call.emplace_back("arguments", message.call->arguments);
    if (!text.empty()) text += '\n';
    text += "<tool_call>\n" + json_dump(Json(std::move(call))) + "\n</tool_call>";
  }
  return text;
}

std::vector<std::string> results(const Template& style, std::vector<Segment>& answer,
                                 std::span<const Message> results) {
  if (speaks_react(answer)) return react_results(answer.back().text, results);
  std::string turn(style.prompt);
  replace_all(turn, kQuery, responses(results));
  return {std::string(style.separator), std::move(turn)};
}

std::string standalone_results(const Template& style, std::span<const Message> results) {
  std::string text(style.separator);
  text += style.prompt.substr(0, style.prompt.find(kQuery));
  return text + responses(results);
}

}  // namespace moebius::data::hermes
