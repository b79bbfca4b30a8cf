#include "data/agent/glm.h"

#include <fmt/format.h>

#include "data/agent/function.h"
#include "data/rows/json_dump.h"
#include "data/rows/python_repr.h"
#include "data/rows/python_text.h"

namespace moebius::data::glm {
namespace {

constexpr std::string_view kObservation = "<|observation|>";

constexpr std::string_view kWhoIsGlm4 =
    "你是一个名为 GLM-4 的人工智能助手。你是基于智谱AI训练的语言模型 GLM-4 模型开发的，"
    "你的任务是针对用户的问题和要求提供适当的答复和支持。\n\n";

/// How one generation sets its parts apart.
struct Marks {
  std::string_view line_end;  // between the parts of a call, and around a result
  std::string_view assistant;
  std::string_view before_bare_tools;  // where no system text follows the tools
};
constexpr Marks kLines{.line_end = "\n", .assistant = "<|assistant|>\n", .before_bare_tools = ""};
constexpr Marks kNoLines{.line_end = "", .assistant = "<|assistant|>", .before_bare_tools = "\n"};

std::string tools(Tools tools, const System& system, const Marks& marks) {
  const std::string_view end = marks.line_end;
  const std::string text = fmt::format(
      "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
      "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n{1}\n</tools>\n\n"
      "For each function call, output the function name and arguments within the following XML format:\n"
      "<tool_call>{{function-name}}{0}<arg_key>{{arg-key-1}}</arg_key>{0}<arg_value>{{arg-value-1}}"
      "</arg_value>{0}<arg_key>{{arg-key-2}}</arg_key>{0}<arg_value>{{arg-value-2}}</arg_value>{0}...{0}"
      "</tool_call>",
      end, joined(tools, "\n", json_dump));
  const std::string_view given = system ? strip(*system) : "";
  if (given.empty()) return std::string(marks.before_bare_tools) + text;
  return fmt::format("{}<|system|>\n{}", text, given);
}

std::string calls(Messages calls, const Marks& marks) {
  std::string text = joined(calls, marks.line_end, [&](const Message& message) {
    std::string call = "<tool_call>" + message.call->name;
    for (const auto& [key, value] : named_arguments(message)) {
      const std::string shown = value.text() != nullptr ? *value.text() : json_dump(value);
      call +=
          fmt::format("{0}<arg_key>{1}</arg_key>{0}<arg_value>{2}</arg_value>", marks.line_end, key, shown);
    }
    return fmt::format("{}{}</tool_call>", call, marks.line_end);
  });
  text += kObservation;
  return text;
}

std::vector<std::string> responses(Messages results, const Marks& marks) {
  std::vector<std::string> texts;
  for (const Message& result : results) {
    texts.push_back(
        fmt::format("{0}<tool_response>{0}{1}{0}</tool_response>", marks.line_end, result.content));
  }
  return texts;
}

std::vector<std::string> results_as_turn(Messages results, const Marks& marks) {
  std::vector<std::string> contexts = responses(results, marks);
  contexts.emplace_back(marks.assistant);
  return contexts;
}

std::string standalone(Messages results, const Marks& marks) {
  return std::string(kObservation) + joined(responses(results, marks), "",
                                            [](const std::string& each) { return std::string_view(each); });
}

}  // namespace

std::string tools_4(Tools tools, const System& /*system*/) {
  return "# 可用工具\n\n" + joined(tools, "\n", [](const Json& tool) {
           const Json& function = function_of(tool);
           const Json* name = name_of(function);
           return fmt::format("## {}\n\n{}\n在调用上述函数时，请使用 Json 格式表示调用的参数。",
                              python_str(name == nullptr ? Json() : *name), json_dump_indented(function));
         });
}

std::string tools_chatglm4(Tools tools, const System& system) {
  return std::string(kWhoIsGlm4) + tools_4(tools, system);
}

std::string calls_4(Messages calls) {
  return joined(calls, "<|assistant|>",
                [](const Message& message) {
                  return fmt::format("{}\n{}", message.call->name, python_str(message.call->arguments));
                }) +
         std::string(kObservation);
}

std::vector<std::string> results_4(const Template& /*style*/, Messages results) {
  std::vector<std::string> contexts{"\n"};
  for (const Message& result : results) {
    if (&result != results.data()) contexts.emplace_back("<|observation|>\n");
    contexts.push_back(result.content);
  }
  contexts.emplace_back("<|assistant|>\n");
  return contexts;
}

std::string standalone_4(const Template& /*style*/, Messages results) {
  return joined(results, "", [](const Message& result) { return "<|observation|>\n" + result.content; });
}

std::string tools_4_5(Tools given, const System& system) {
  return tools(given, system, kLines);
}

std::string calls_4_5(Messages messages) {
  return calls(messages, kLines);
}

std::string_view before_calls_4_5(std::string& text) {
  const std::string_view stripped = strip(text);
  if (stripped.empty()) return "";
  text = std::string(stripped);
  return "\n";
}

std::vector<std::string> results_4_5(const Template& /*style*/, Messages results) {
  return results_as_turn(results, kLines);
}

std::string standalone_4_5(const Template& /*style*/, Messages results) {
  return standalone(results, kLines);
}

std::string tools_4_7(Tools given, const System& system) {
  return tools(given, system, kNoLines);
}

std::string calls_4_7(Messages messages) {
  return calls(messages, kNoLines);
}

std::vector<std::string> results_4_7(const Template& /*style*/, Messages results) {
  return results_as_turn(results, kNoLines);
}

std::string standalone_4_7(const Template& /*style*/, Messages results) {
  return standalone(results, kNoLines);
}

}  // namespace moebius::data::glm
