#include "data/agent/react.h"

#include <fmt/format.h>

#include "data/agent/function.h"
#include "data/rows/json_dump.h"
#include "data/rows/python_repr.h"

namespace moebius::data::react {
namespace {

constexpr std::string_view kJsonInput = "Format the arguments as a JSON object.";
constexpr std::string_view kJsonInputZh = "此工具的输入应为JSON对象。";

constexpr std::string_view kLikeReactGrpo =
    "A conversation for tool calling between User and Assistant. The user asks a question which may be "
    "solved "
    "by calling tools, and the Assistant solves it. The assistant first thinks about the reasoning process "
    "in "
    "the mind and then provides the user with the answer. The reasoning process should be enclosed within "
    "<think> </think>tags and answer should follow the ReACT format(Action:xxx\nAction Input:xxx), i.e., "
    "<think> reasoning process here </think> Action: action here\nAction Input: parameters here\n\n"
    "Answer the following questions as best as you can. You have access to the following tools:\n\n";

constexpr std::string_view kToolBench =
    "You can use many tools(functions) to do the following task.\n"
    "First I will give you the task description, and your task start.\n"
    "At each step, you need to give your thought to analyze the status now and what to do next, with a "
    "function call to actually execute your step. Your output should follow this format:\n"
    "Thought:\nAction:\nAction Input:\n\n"
    "After the call, you will get the call result, and you are now in a new state.\n"
    "Then you will analyze your status now, then decide what to do next...\n"
    "After many (Thought-call) pairs, you finally perform the task, then you can give your final answer.\n"
    "Remember:\n"
    "1.the state change is irreversible, you can't go back to one of the former state, if you want to "
    "restart "
    "the task, say \"I give up and restart\".\n"
    "2.All the thought is short, at most in 5 sentence.\n"
    "3.You can do more then one try, so if your plan is to continuously try some conditions, you can do one "
    "of the conditions per try.\n"
    "Let's Begin!\n"
    "Task description: You should use functions to help handle the real time user queries. Remember:\n"
    "1.ALWAYS call \"Finish\" function at the end of the task. And the final answer should contain enough "
    "information to show to the user,If you can't handle the task, or you find that function calls always "
    "fail(the function is not valid now), use function Finish->give_up_and_restart.\n"
    "2.Do not use origin tool names, use only subfunctions' names.\n"
    "Specifically, you have access to the following APIs: ";

std::vector<ToolWords> all_words(Tools tools) {
  std::vector<ToolWords> words;
  words.reserve(tools.size());
  for (const Json& tool : tools) words.push_back(words_of(tool));
  return words;
}

std::string names_of(const std::vector<ToolWords>& tools) {
  return joined(tools, ",", [](const ToolWords& tool) { return std::string_view(tool.name); });
}

std::string descriptions_en(const std::vector<ToolWords>& tools) {
  return joined(tools, "\n\n", [](const ToolWords& tool) {
    return fmt::format(
        "{}: Call this tool to interact with the {} API. What is the {} API useful for? {} Parameters: {} {}",
        tool.name, tool.human_name, tool.human_name, tool.description, tool.parameters, kJsonInput);
  });
}

std::string descriptions_zh(const std::vector<ToolWords>& tools) {
  return joined(tools, "\n\n", [](const ToolWords& tool) {
    return fmt::format("{}: 调用此工具与 {} API 进行交互。{} 有什么用？{} 输入参数：{} {}", tool.name,
                       tool.human_name, tool.human_name, tool.description, tool.parameters, kJsonInputZh);
  });
}

std::string calls(Messages calls, const AgentWords& words) {
  return joined(calls, "",
                [&](const Message& message) {
                  return fmt::format("{} {}\n{} {}\n", words.action, message.call->name, words.input,
                                     python_str(message.call->arguments));
                }) +
         std::string(words.observation);
}

/// What Qwen's templates in one language say around the list of tools.
struct QwenText {
  std::string_view title, parameters, input;  // before the tools, before a tool's schema, about its input
};
constexpr QwenText kEnglish{.title = "# Tools\n\n## You have access to the following tools:",
                            .parameters = "Parameters: ",
                            .input = kJsonInput};
constexpr QwenText kChinese{
    .title = "# 工具\n\n## 你拥有如下工具：", .parameters = "输入参数：", .input = kJsonInputZh};

/// `how` tells how to call them; {} there are the tools' names.
std::string qwen_tools(Tools given, const System& system, const QwenText& text, const std::string& how) {
  const std::vector<ToolWords> tools = all_words(given);
  const std::string described = joined(tools, "\n\n", [&](const ToolWords& tool) {
    return fmt::format("### {}\n\n{}: {} {}{} {}", tool.human_name, tool.name, tool.description,
                       text.parameters, tool.parameters, text.input);
  });
  return fmt::format("{}\n\n{}\n\n{}\n\n{}", system.value_or(""), text.title, described,
                     fmt::format(fmt::runtime(how), names_of(tools)));
}

}  // namespace

std::string tools_en(Tools given, const System& /*system*/) {
  const std::vector<ToolWords> tools = all_words(given);
  return fmt::format(
      "Answer the following questions as best you can. You have access to the following tools:\n\n{}\n\n"
      "Use the following format:\n\n"
      "Question: the input question you must answer\n"
      "Thought: you should always think about what to do\n"
      "Action: the action to take, should be one of [{}]\n"
      "Action Input: the input to the action\n"
      "Observation: the result of the action\n"
      "... (this Thought/Action/Action Input/Observation can be repeated zero or more times)\n"
      "Thought: I now know the final answer\n"
      "Final Answer: the final answer to the original input question\n\n"
      "Begin!\n",
      descriptions_en(tools), names_of(tools));
}

std::string tools_zh(Tools given, const System& /*system*/) {
  const std::vector<ToolWords> tools = all_words(given);
  return fmt::format(
      "尽可能地回答以下问题。你可以使用以下工具:\n\n{}\n\n"
      "请按照以下格式进行:\n\n"
      "Question: 需要你回答的输入问题\n"
      "Thought: 你应该总是思考该做什么\n"
      "Action: 需要使用的工具，应该是[{}]中的一个\n"
      "Action Input: 传入工具的内容\n"
      "Observation: 行动的结果\n"
      "... (这个Thought/Action/Action Input/Observation可以重复N次)\n"
      "Thought: 我现在知道最后的答案\n"
      "Final Answer: 对原始输入问题的最终答案\n\n"
      "现在开始！\n",
      descriptions_zh(tools), names_of(tools));
}

std::string tools_grpo(Tools given, const System& /*system*/) {
  const std::vector<ToolWords> tools = all_words(given);
  return fmt::format(
      "{}{}\n\nUse the following format:\n\n"
      "<think>you should always think about what to do</think>\n"
      "Action: the action to take, should be one of [{}]\n"
      "Action Input: the input to the action\n"
      "Observation: the result of the action, given by the actual calling\n"
      "... (this Thought/Action/Action Input/Observation can be repeated zero or more times)\n"
      "Final Answer: the final answer to the original input question\n\n"
      "Begin!\n",
      kLikeReactGrpo, descriptions_en(tools), names_of(tools));
}

std::string tools_toolbench(Tools given, const System& /*system*/) {
  Json::Array functions;
  functions.reserve(given.size());
  for (const Json& tool : given) functions.push_back(function_of(tool));
  return std::string(kToolBench) + json_dump(Json(std::move(functions)));
}

std::string qwen_tools_en(Tools tools, const System& system) {
  return qwen_tools(tools, system, kEnglish,
                    "## When you need to call a tool, please insert the following command in your reply, "
                    "which can be called zero or multiple times according to your needs:\n\n"
                    "✿FUNCTION✿: The tool to use, should be one of [{}]\n"
                    "✿ARGS✿: The input of the tool\n"
                    "✿RESULT✿: Tool results\n"
                    "✿RETURN✿: Reply based on tool results. Images need to be rendered as ![](url)");
}

std::string qwen_tools_zh(Tools tools, const System& system) {
  return qwen_tools(tools, system, kChinese,
                    "## 你可以在回复中插入零次、一次或多次以下命令以调用工具：\n\n"
                    "✿FUNCTION✿: 工具名称，必须是[{}]之一。\n"
                    "✿ARGS✿: 工具输入\n"
                    "✿RESULT✿: 工具结果\n"
                    "✿RETURN✿: 根据工具结果进行回复，需将图片用![](url)渲染出来");
}

std::string qwen_tools_en_parallel(Tools tools, const System& system) {
  return qwen_tools(tools, system, kEnglish,
                    "## Insert the following command in your reply when you need to call N tools in "
                    "parallel:\n\n"
                    "✿FUNCTION✿: The name of tool 1, should be one of [{}]\n"
                    "✿ARGS✿: The input of tool 1\n"
                    "✿FUNCTION✿: The name of tool 2\n"
                    "✿ARGS✿: The input of tool 2\n"
                    "...\n"
                    "✿FUNCTION✿: The name of tool N\n"
                    "✿ARGS✿: The input of tool N\n"
                    "✿RESULT✿: The result of tool 1\n"
                    "✿RESULT✿: The result of tool 2\n"
                    "...\n"
                    "✿RESULT✿: he result of tool N\n"  // so it stands in ms-swift
                    "✿RETURN✿: Reply based on tool results. Images need to be rendered as ![](url)");
}

std::string qwen_tools_zh_parallel(Tools tools, const System& system) {
  return qwen_tools(tools, system, kChinese,
                    "## 你可以在回复中插入以下命令以并行调用N个工具：\n\n"
                    "✿FUNCTION✿: 工具1的名称，必须是[{}]之一\n"
                    "✿ARGS✿: 工具1的输入\n"
                    "✿FUNCTION✿: 工具2的名称\n"
                    "✿ARGS✿: 工具2的输入\n"
                    "...\n"
                    "✿FUNCTION✿: 工具N的名称\n"
                    "✿ARGS✿: 工具N的输入\n"
                    "✿RESULT✿: 工具1的结果\n"
                    "✿RESULT✿: 工具2的结果\n"
                    "...\n"
                    "✿RESULT✿: 工具N的结果\n"
                    "✿RETURN✿: 根据工具结果进行回复，需将图片用![](url)渲染出来");
}

std::string calls(Messages messages) {
  return calls(messages, kReactWords);
}

std::string qwen_calls(Messages messages) {
  return calls(messages, kQwenWords);
}

std::string standalone(const Template& /*style*/, Messages results) {
  return joined(results, "", [](const Message& result) {
    return fmt::format("\n{}\n{}", kReactWords.observation, result.content);
  });
}

}  // namespace moebius::data::react
