// How each agent template writes a call, its result and the tools: short cases; long texts are compared with
// ms-swift's in encoding_fixtures_test.
#include "data/agent/agent.h"

#include <map>
#include <string>
#include <vector>

#include "data/template/turns.h"
#include "tests/support/catch.h"

using namespace moebius::data;

namespace {

ChatRow row_of(const std::string& json) {
  JsonParser parser;
  std::optional<Json> value = parser.parse(json);
  INFO(json);
  REQUIRE(value.has_value());
  return std::get<ChatRow>(read_row(std::move(*value->as<Json::Object>()), {}, parser));
}

const char* const kCall = R"({"messages": [{"role": "user", "content": "q"},
  {"role": "assistant", "content": " hm "},
  {"role": "tool_call", "content": {"name": "f", "arguments": {"x": "a'b", "n": [1.50, true, null]}}},
  {"role": "tool_call", "content": {"name": "g", "arguments": {}}},
  {"role": "tool_response", "content": "R"}, {"role": "tool_response", "content": "S"},
  {"role": "assistant", "content": "done"}]})";

/// The turns' segments, with | between turns and ~ between the segments of one; "dropped: reason" else.
std::string turns_of(const std::string& agent, const std::string& json, const char* style = "chatml") {
  try {
    const Style written{*find_template(style), find_agent_template(agent)};
    std::string text;
    for (const Turn& turn : conversation_of(row_of(json), written).turns) {
      if (!text.empty()) text += " | ";
      for (const Segment& segment : turn.segments) {
        text += segment.text;
        if (&segment != &turn.segments.back()) text += "~";
      }
    }
    return text;
  } catch (const Dropped& dropped) {
    return "dropped: " + dropped.text();
  }
}

std::string tools_text(const std::string& agent, const std::string& tools,
                       const std::optional<std::string>& system = std::nullopt) {
  const ChatRow row = row_of(R"({"query": "q", "response": "r", "tools": )" + tools + "}");
  try {
    return find_agent_template(agent)->tools(row.tools, system);
  } catch (const Dropped& dropped) {
    return "dropped: " + dropped.text();
  }
}

}  // namespace

TEST_CASE("calls and results, by agent template", "[data][agent]") {
  const std::string turn = "<|im_end|>\n~<|im_start|>user\n";
  const std::string next = "<|im_end|>\n<|im_start|>assistant\n | done";
  const std::string hermes_calls =
      "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": \"a'b\", \"n\": [1.5, true, "
      "null]}}\n</tool_call>\n"
      "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>";
  const std::string hermes_results =
      "<tool_response>\nR\n</tool_response>\n<tool_response>\nS\n</tool_response>";
  const std::string coder_calls =
      "<tool_call>\n<function=f>\n<parameter=x>\na'b\n</parameter>\n<parameter=n>\n[1.5, true, null]\n"
      "</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=g>\n</function>\n</tool_call>";
  const std::string printed = "{'x': \"a'b\", 'n': [1.5, True, None]}";
  const std::string react =
      "Action: f\nAction Input: " + printed + "\nAction: g\nAction Input: {}\nObservation:";
  const std::map<std::string, std::string> expected{
      {"hermes", "q |  hm ~" + hermes_calls + " | " + turn + hermes_results + next},
      {"hunyuan_hermes",
       "q |  hm ~<tool_calls>\n" + hermes_calls + "\n</tool_calls> | " + turn +
           "<tool_responses><tool_response>R</tool_response>\n<tool_response>S</tool_response>"
           "</tool_responses>" +
           next},
      {"qwen3_coder", "q | hm~\n\n" + coder_calls + " | " + turn + hermes_results + "\n" + next},
      {"qwen3_5", "q |  hm ~\n\n" + coder_calls + " | " + turn + hermes_results + next},
      {"llama3",
       "q |  hm ~{\"name\": \"f\", \"parameters\": {\"x\": \"a'b\", \"n\": [1.5, true, null]}}\n"
       "{\"name\": \"g\", \"parameters\": {}} | "
       "<|eot_id|>~<|start_header_id|>tool<|end_header_id|>\n\nR<|eot_id|>~"
       "<|start_header_id|>tool<|end_header_id|>\n\nS<|eot_id|>~<|start_header_id|>assistant<|end_header_id|>"
       "\n\n"
       " | done"},
      {"deepseek_v3_1",
       "q |  hm ~<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"x\": \"a'b\", \"n\": [1.5, "
       "true, "
       "null]}<｜tool▁call▁end｜><｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜><"
       "｜tool▁calls▁end｜> | "
       "<｜end▁of▁sentence｜>~<｜tool▁output▁begin｜>R<｜tool▁output▁end｜><｜tool▁output▁begin｜>S"
       "<｜tool▁output▁end｜> | done"},
      {"glm4", "q |  hm ~f\n" + printed +
                   "<|assistant|>g\n{}<|observation|> | \n~R~<|observation|>\n~S~"
                   "<|assistant|>\n | done"},
      {"glm4_5",
       "q | hm~\n<tool_call>f\n<arg_key>x</arg_key>\n<arg_value>a'b</arg_value>\n<arg_key>n</arg_key>\n"
       "<arg_value>[1.5, true, null]</arg_value>\n</tool_call>\n<tool_call>g\n</tool_call><|observation|> | "
       "\n<tool_response>\nR\n</tool_response>~\n<tool_response>\nS\n</tool_response>~<|assistant|>\n | "
       "done"},
      {"glm4_7",
       "q |  hm "
       "~<tool_call>f<arg_key>x</arg_key><arg_value>a'b</arg_value><arg_key>n</arg_key><arg_value>[1.5, "
       "true, null]</arg_value></tool_call><tool_call>g</tool_call><|observation|> | <tool_response>R"
       "</tool_response>~<tool_response>S</tool_response>~<|assistant|> | done"},
      {"react_en", "q |  hm ~" + react + " | R~\n~Observation:~S~\n | done"},
      {"toolbench", "q |  hm ~" + react + " | R~\n~Observation:~S~\n | done"},
      {"qwen_zh_parallel", "q |  hm ~✿FUNCTION✿: f\n✿ARGS✿: " + printed +
                               "\n✿FUNCTION✿: g\n✿ARGS✿: {}\n✿RESULT✿: | R~\n~✿RESULT✿:~S~\n | done"},
  };
  for (const auto& [agent, text] : expected) {
    INFO(agent);
    CHECK(turns_of(agent, kCall) == text);
  }
}

TEST_CASE("results that no call precedes", "[data][agent]") {
  const std::string row = R"({"messages": [{"role": "user", "content": "q"}, {"role": "tool", "content": "R"},
    {"role": "assistant", "content": "a"}]})";
  CHECK(turns_of("react_zh", row) == "q\nObservation:\nR | a");
  CHECK(turns_of("glm4", row, "glm4") == "q<|observation|>\nR | a");
  CHECK(turns_of("glm4_5", row, "glm4_5") == "q<|observation|>\n<tool_response>\nR\n</tool_response> | a");
  CHECK(turns_of("llama3", row).starts_with("dropped: a tool result out of place: it follows no call"));
  CHECK(turns_of("qwen_en", row).starts_with("dropped: a tool result out of place"));
}

TEST_CASE("without agent template calls and results are dropped", "[data][agent]") {
  CHECK(turns_of("none", kCall, "deepseek_r1") ==
        "dropped: tools that the template cannot write (data.agent_template can name another way): "
        "deepseek_r1");
}

TEST_CASE("calls that a way of writing has no words for are dropped", "[data][agent]") {
  const std::string row = R"({"messages": [{"role": "user", "content": "q"},
    {"role": "tool_call", "content": {"name": "f", "arguments": [1]}}]})";
  CHECK(turns_of("glm4_5", row) == "dropped: tool call malformed: arguments without names");
  CHECK(turns_of("qwen3_coder", row) == "dropped: tool call malformed: arguments without names");
  CHECK(turns_of("react_en", row) == "q | Action: f\nAction Input: [1]\nObservation:");
}

TEST_CASE("tools, by agent template", "[data][agent]") {
  const std::string tool =
      R"([{"name": "f", "description": " d ", "parameters": {"properties": {"x": {"type": ["a", "b"], "enum": [1]}},
      "required": ["x"]}, "strict": true}])";
  CHECK(tools_text("qwen3_coder", tool, "S")
            .starts_with("S\n\n# Tools\n\nYou have access to the following "
                         "functions:\n\n<tools>\n<function>\n<name>f</name>\n"
                         "<description>d</description>\n<parameters>\n<parameter>\n<name>x</"
                         "name>\n<type>['a', 'b']</type>\n"
                         "<enum>[1]</enum>\n</parameter>\n<required>[\"x\"]</required>\n</"
                         "parameters>\n<strict>true</strict>\n"
                         "</function>\n</tools>\n\nIf you choose"));
  CHECK(
      tools_text("qwen3_coder", tool).starts_with("You are Qwen, a helpful AI assistant that can interact"));
  CHECK(tools_text("qwen3_5", tool, "S").ends_with("</IMPORTANT>\n\nS"));
  CHECK(tools_text("glm4_5", tool, " S ").ends_with("</tool_call><|system|>\nS"));
  CHECK(tools_text("glm4_7", tool, " ").starts_with("\n# Tools\n\n"));
  CHECK(
      tools_text("glm4", R"([{"name": "f"}])", "S") ==
      "# 可用工具\n\n## f\n\n{\n    \"name\": \"f\"\n}\n在调用上述函数时，请使用 Json 格式表示调用的参数。");
  CHECK(
      tools_text("react_en", R"([{"name": "f", "description": "d"}])", "S")
          .find(
              "\n\nf: Call this tool to interact with the f API. What is the f API useful for? d Parameters: "
              "{} Format the arguments as a JSON object.\n\nUse") != std::string::npos);
  CHECK(tools_text("react_en", R"([{"name": "f"}])") == "dropped: tools malformed: no description");
  CHECK(tools_text("deepseek_v3_1", R"([{"name": "f"}])", "S")
            .starts_with("S\n\n## Tools\nYou have access to the following tools:\n\n### f\nDescription: \n\n"
                         "Parameters: {}\n\nIMPORTANT"));
  CHECK(tools_text("llama3", R"([{"name": "f", "x": []}])")
            .ends_with("\n\n{\n    \"type\": \"function\",\n    \"function\": {\n        \"name\": \"f\",\n"
                       "        \"x\": []\n    }\n}\n\n"));
}
