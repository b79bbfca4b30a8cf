#include <fmt/format.h>
#include <map>
#include <string>

#include "data/rows/json_dump.h"
#include "data/rows/row.h"
#include "tests/support/catch.h"

using namespace moebius::data;

namespace {

Row row_of(const std::string& json, const RowSettings& settings = {}) {
  JsonParser parser;
  std::optional<Json> value = parser.parse(json);
  INFO(json);
  REQUIRE(value.has_value());
  return read_row(std::move(*value->as<Json::Object>()), settings, parser);
}

std::string told(const ChatRow& row) {
  const std::map<Role, std::string> names{
      {Role::system, "s"}, {Role::user, "u"}, {Role::assistant, "a"}, {Role::tool_result, "r"}};
  std::string text;
  for (const Message& message : row.messages) {
    if (!text.empty()) text += ' ';
    text += message.call ? fmt::format("call:{}({})", message.call->name, json_dump(message.call->arguments))
                         : names.at(message.role) + ":" + message.content;
  }
  return text;
}
/// "s:.. u:.. a:.. call:name(arguments) r:..", or "dropped: <reason>".
std::string told(const Row& row) {
  if (const auto* dropped = std::get_if<Dropped>(&row)) return "dropped: " + dropped->text();
  return told(std::get<ChatRow>(row));
}
std::string told(const std::string& json, const RowSettings& settings = {}) {
  return told(row_of(json, settings));
}

/// Both sides of a pair and the number of their tools.
std::string told_pair(const std::string& json) {
  const Row row = row_of(json, {.answers = Answers::pair});
  if (const auto* dropped = std::get_if<Dropped>(&row)) return "dropped: " + dropped->text();
  const auto& [chosen, rejected] = std::get<Pair<ChatRow>>(row);
  return fmt::format("{} ({}) | {} ({})", told(chosen), chosen.tools.size(), told(rejected),
                     rejected.tools.size());
}

}  // namespace

TEST_CASE("query and response under all their names", "[data][rows]") {
  CHECK(told(R"({"query": "q", "response": "r"})") == "u:q a:r");
  CHECK(told(R"({"prompt": "q", "completion": "r", "id": 7})") == "u:q a:r");
  CHECK(told(R"({"Question": "q", "ANSWER": "r"})") == "u:q a:r");
  CHECK(told(R"({"system_prompt": "s", "problem": "q", "solution": "r"})") == "s:s u:q a:r");
  CHECK(told(R"({"text": "only text"})") == "a:only text");
  CHECK(told(R"({"query": "q", "response": null})") == "u:q");
  CHECK(told(R"({"query": "q", "response": 3.50})") == "u:q a:3.50");
  CHECK(told(R"({"query": "q", "response": ["first", "second"]})") == "u:q a:first");
  CHECK(told(R"({"system": "", "query": "q", "response": "r"})") == "s: u:q a:r");
  // The exact name wins over another that would be renamed to it.
  CHECK(told(R"({"query": "exact", "question": "other", "response": "r"})") == "u:exact a:r");
  CHECK(told(R"({"question": "one", "problem": "two", "response": "r"})") == "a:r");
  CHECK(told(R"({"id": 1})") == "dropped: no messages: neither query nor response");
  CHECK(told(R"({"query": "q", "response": true})") == "dropped: content is not text: true or false");
  CHECK(told(R"({"query": "q", "response": []})") == "dropped: no messages: the list of responses is empty");
}

TEST_CASE("history is a list of pairs or its text", "[data][rows]") {
  CHECK(told(R"({"query": "q", "response": "r", "history": [["a", "b"], ["c", null]]})") ==
        "u:a a:b u:c u:q a:r");
  CHECK(told(R"({"query": "q", "response": "r", "history": "[('a', 'b')]"})") == "u:a a:b u:q a:r");
  CHECK(told(R"({"query": "q", "response": "r", "history": ""})") == "u:q a:r");
  CHECK(told(R"({"query": "q", "response": "r", "history": "a: b"})") ==
        "dropped: history malformed: no list of pairs");
  CHECK(told(R"({"query": "q", "response": "r", "history": [["a"]]})") ==
        "dropped: history malformed: no pair");
}

TEST_CASE("alpaca rows", "[data][rows]") {
  CHECK(told(R"({"instruction": "do", "input": "this", "output": "done"})") == "u:do\nthis a:done");
  CHECK(told(R"({"instruction": "do", "input": "", "output": "done"})") == "u:do a:done");
  CHECK(told(R"({"instruction": "", "input": "this", "output": ""})") == "u:this a:");
  CHECK(told(R"({"instruction": "do", "output": "done"})") == "u:do a:done");
  CHECK(told(R"({"instruction": 1, "input": 2, "output": 3})") == "u:1\n2 a:3");
  CHECK(told(R"({"instruction": null, "input": null, "output": "done"})") ==
        "dropped: no messages: neither instruction nor input");
}

TEST_CASE("messages in their forms", "[data][rows]") {
  CHECK(told(R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]})") ==
        "u:q a:r");
  CHECK(told(R"({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "r"}],
                 "system": "s"})") == "s:s u:q a:r");
  CHECK(told(R"({"messages": [{"role": "system", "content": "own"}, {"role": "user", "content": "q"}],
                 "system": "column"})") == "s:own u:q");
  CHECK(told(R"({"conversation": [{"human": "q", "assistant": "r"}, {"user": "q2", "bot": "r2"}]})") ==
        "u:q a:r u:q2 a:r2");
  CHECK(told(R"({"messages": "[{'role': 'user', 'content': 'q'}]"})") == "u:q");
  CHECK(told(R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"},
                 {"type": "text", "text": "b"}]}]})") == "u:ab");
  CHECK(told(R"({"messages": [{"role": "user", "content": "q"}, {"role": "function-call",
                 "content": "{'name': 'f', 'arguments': {'x': True}}"},
                 {"role": "observation", "content": {"y": 1.0}}]})") ==
        R"(u:q call:f({"x": true}) r:{"y": 1.0})");
  CHECK(told(R"({"messages": null, "query": "q"})") == "u:q");
}

TEST_CASE("messages that cannot be read are dropped, each for its reason", "[data][rows]") {
  const auto dropped = [](const std::string& messages) { return told("{\"messages\": " + messages + "}"); };
  CHECK(dropped("[]") == "dropped: no messages");
  CHECK(dropped("7") == "dropped: messages malformed: no list");
  CHECK(dropped("[7]") == "dropped: messages malformed: a message that is no object");
  CHECK(dropped("\"?\"") == "dropped: messages malformed: text that is neither JSON nor a Python literal");
  CHECK(dropped(R"([{"content": "q"}])") == "dropped: messages malformed: a message without a role");
  CHECK(dropped(R"([{"role": "narrator", "content": "q"}])") == "dropped: unknown role: 'narrator'");
  CHECK(dropped(R"([{"role": "user", "content": null}])") == "dropped: content is null");
  CHECK(dropped(R"([{"role": "user", "content": {"a": 1}}])") == "dropped: content is not text: an object");
  CHECK(dropped(R"([{"role": "user", "content": [{"type": "text", "value": "v"}]}])") ==
        "dropped: content is not text: a block of type 'text'");
  CHECK(dropped(R"([{"role": "user", "content": [{"type": "image_url", "image_url": "u"}]}])") ==
        "dropped: images, audio, video or objects, which are not built: image_url");
  CHECK(dropped(R"([{"role": "assistant", "content": "a", "loss": "no"}])") ==
        "dropped: loss, loss_scale or chat_template_kwargs malformed: neither true nor false");
  CHECK(dropped(R"([{"role": "tool_call", "content": "f of 1"
}])") == "dropped: tool call malformed: neither JSON nor a Python literal");
  CHECK(dropped(R"([{"role": "tool_call", "content": {"arguments": {}}}])") ==
        "dropped: tool call malformed: no name");
  CHECK(dropped(R"([{"role": "tool_call", "content": {"name": "f"}}])") ==
        "dropped: tool call malformed: no arguments");
  CHECK(told(R"({"query": "q", "response": "r", "images": ["a.png"]})") ==
        "dropped: images, audio, video or objects, which are not built: images");
}

TEST_CASE("OpenAI's tool calls, results in the order of the calls", "[data][rows]") {
  CHECK(told(R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": null,
    "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{\"x\": 1}"}},
                   {"id": "2", "function": {"name": "g"}}]},
    {"role": "tool", "tool_call_id": "2", "content": "of g"},
    {"role": "tool", "tool_call_id": "1", "content": "of f"}]})") ==
        R"(u:q call:f({"x": 1}) call:g({}) r:of f r:of g)");
  // Without ids for all, the order stays; text before the calls becomes an answer of its own.
  CHECK(told(R"({"messages": [{"role": "assistant", "content": "look", "loss": false,
    "tool_calls": [{"id": "1", "name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]},
    {"role": "tool", "tool_call_id": "2", "content": "b"}, {"role": "tool", "tool_call_id": "1", "content": "a"}
    ]})") == "a:look call:f({}) call:g({}) r:b r:a");
  const Row row = row_of(R"({"messages": [{"role": "assistant", "loss": false, "loss_scale": 0.5,
    "tool_calls": [{"function": {"name": "f"}}]}]})");
  const Message& call = std::get<ChatRow>(row).messages.front();
  CHECK(call.loss == false);
  CHECK(call.loss_scale == 0.5);
}

TEST_CASE("Anthropic's blocks", "[data][rows]") {
  CHECK(told(R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": [
    {"type": "text", "text": "I "}, {"type": "text", "text": "look"},
    {"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}}, {"type": "tool_use", "id": "2", "name": "g"}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "2", "content": "b"},
    {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "a"}]},
    {"type": "text", "text": "and"}]}]})") == R"(u:q a:I look call:f({"x": 1}) call:g({}) r:a r:b u:and)");
  CHECK(told(R"({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "name": "f"},
    {"type": "thinking", "thinking": "t"}]}]})") ==
        "dropped: content is not text: a block of type 'thinking'");
}

TEST_CASE("tools are unpacked, cleaned of padding and wrapped", "[data][rows]") {
  const auto tools = [](const std::string& column) {
    const Row row = row_of("{\"query\": \"q\", \"tools\": " + column + "}");
    if (const auto* dropped = std::get_if<Dropped>(&row)) return dropped->text();
    std::string text;
    for (const Json& tool : std::get<ChatRow>(row).tools) text += json_dump(tool);
    return text;
  };
  const std::string wrapped = R"({"type": "function", "function": {"name": "f"}})";
  CHECK(tools(R"([{"name": "f"}])") == wrapped);
  CHECK(tools(R"("[{\"name\": \"f\"}]")") == wrapped);
  CHECK(tools(R"({"name": "f"})") == wrapped);
  CHECK(tools(R"(["{'name': 'f'}"])") == wrapped);
  CHECK(tools(R"([{"function": {"name": "f"}, "x-note": null, "note": null}])") ==
        R"({"function": {"name": "f"}, "x-note": null})");
  CHECK(tools(R"([{"name": "f", "parameters": {"properties": {"default": {"type": "string", "title": null},
                  "gone": null, "p": {"default": null, "enum": [null, 1]}}, "examples": null}}])") ==
        R"({"type": "function", "function": {"name": "f", "parameters": {"properties": )"
        R"({"default": {"type": "string"}, "p": {"default": null, "enum": [null, 1]}}}}})");
  CHECK(tools("[]").empty());
  CHECK(tools("null").empty());
  CHECK(tools("\"\"").empty());
  CHECK(tools(R"("get_weather of a city")") == "tools malformed: a tool is no object");
}

TEST_CASE("a rejected answer takes the place of all behind the last user", "[data][rows]") {
  CHECK(told_pair(R"({"query": "q", "response": "r", "rejected_response": "bad"})") ==
        "u:q a:r (0) | u:q a:bad (0)");
  CHECK(told_pair(R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"},
        {"role": "tool_call", "content": "{\"name\": \"f\", \"arguments\": {}}"},
        {"role": "tool_response", "content": "1"}, {"role": "assistant", "content": "good"}],
        "tools": [{"name": "f"}], "rejected_response": [{"role": "assistant", "content": "bad"}]})") ==
        "s:s u:q call:f({}) r:1 a:good (1) | s:s u:q a:bad (1)");
  CHECK(
      told_pair(R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "good"}],
        "tools": [{"name": "f"}], "rejected_messages": [{"role": "user", "content": "x"},
        {"role": "assistant", "content": "good"}]})") == "u:q a:good (1) | u:x a:good (0)");
  const std::string wrong = "dropped: rejected answer malformed or equal to the response";
  CHECK(told_pair(R"({"query": "q", "response": "r", "rejected_response": "r"})") == wrong + ": equal");
  CHECK(told_pair(R"({"query": "q", "response": "r",
        "rejected_response": [{"role": "assistant", "content": "r"}]})") == wrong + ": equal");
  CHECK(told_pair(R"({"query": "q", "response": "r"})") == "dropped: no rejected answer");
}

TEST_CASE("rejected answers as TRL and LLaMA-Factory write them", "[data][rows]") {
  CHECK(told_pair(R"({"prompt": "q", "chosen": "good", "rejected": "bad"})") ==
        "u:q a:good (0) | u:q a:bad (0)");
  CHECK(
      told_pair(
          R"({"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "good"},
        "rejected": {"from": "gpt", "value": "bad"}})") == "u:q a:good (0) | u:q a:bad (0)");
  CHECK(told_pair(R"({"tools": [{"name": "f"}], "chosen": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": "good"}], "rejected": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": "bad"}]})") == "u:q a:good (1) | u:q a:bad (1)");
  CHECK(told_pair(R"({"prompt": "q", "chosen": "same", "rejected": "same"})") ==
        "dropped: rejected answer malformed or equal to the response: equal");
  CHECK(told_pair(R"({"prompt": "q", "chosen": "good"})") == "dropped: no rejected answer");
}

TEST_CASE("pairs that are encoded already", "[data][rows]") {
  const std::string text = R"({"chosen": {"input_ids": [1, 2], "labels": [-100, 2]},
                               "rejected": {"input_ids": [1, 3, 4], "labels": [-100, 3, 4]}})";
  const Row pair = row_of(text, {.answers = Answers::pair});
  CHECK(std::get<Pair<TokenRow>>(pair).chosen.input_ids == std::vector<std::int32_t>{1, 2});
  CHECK(std::get<Pair<TokenRow>>(pair).rejected.labels == std::vector<std::int32_t>{-100, 3, 4});
  CHECK(std::get<TokenRow>(row_of(text)).input_ids == std::vector<std::int32_t>{1, 2});
  CHECK(told_pair(R"({"input_ids": [1, 2], "labels": [1, 2]})") == "dropped: no rejected answer");
  CHECK(told_pair(R"({"chosen": {"input_ids": [1], "labels": [1]}, "rejected": "text"})") ==
        "dropped: no rejected answer: only the chosen one is encoded");
}

TEST_CASE("rows with chosen and rejected answers are read as their chosen side", "[data][rows]") {
  CHECK(told(R"({"prompt": "q", "chosen": "good", "rejected": "bad"})") == "u:q a:good");
  CHECK(
      told(R"({"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "good"},
                 "rejected": {"from": "gpt", "value": "bad"}})") == "u:q a:good");
  CHECK(told(R"({"prompt": "q", "chosen": [{"role": "user", "content": "q"},
                 {"role": "assistant", "content": "good"}]})") == "u:q a:good");
  CHECK(told(R"({"prompt": [{"role": "user", "content": "q"}],
                 "chosen": [{"role": "assistant", "content": "good"}]})") == "u:q a:good");
  CHECK(told(R"({"query": "q", "response": "r", "rejected_response": "bad"})") == "u:q a:r");
  CHECK(told(R"({"query": "q", "response": "r", "rejected_response": "r"})") ==
        "dropped: rejected answer malformed or equal to the response: equal");
  CHECK(told(R"({"query": "q", "response": "r", "rejected_response": null})") ==
        "dropped: rejected answer malformed or equal to the response: null");
}

TEST_CASE("the job renames columns and fills names", "[data][rows]") {
  const RowSettings settings{
      .columns = {{"ask", "query"}, {"Tell", "response"}}, .model_name = "Moebius", .model_author = ""};
  CHECK(told(R"({"ask": "who is {{NAME}}?", "tell": "{{NAME}} by {{AUTHOR}}"})", settings) ==
        "u:who is Moebius? a:Moebius by {{AUTHOR}}");
  CHECK(told(R"({"ask": "a", "query": "b", "tell": "c"})", settings) ==
        "dropped: [data.columns] gives two columns one name");
  CHECK(told(R"({"messages": [{"role": "system", "content": "{{NAME}}"}, {"role": "assistant",
                 "content": "{{NAME}}"}]})",
             settings) == "s:{{NAME}} a:Moebius");
}

TEST_CASE("options of a row about thinking", "[data][rows]") {
  const Row row = row_of(R"({"query": "q", "chat_template_kwargs": {"enable_thinking": true,
    "preserve_thinking": null, "response_prefix": "P", "other": 1}})");
  const ChatOptions& options = std::get<ChatRow>(row).options;
  CHECK(options.enable_thinking == true);
  CHECK_FALSE(options.preserve_thinking.has_value());
  CHECK(options.response_prefix == "P");
  CHECK(told(R"({"query": "q", "chat_template_kwargs": "x"})") ==
        "dropped: loss, loss_scale or chat_template_kwargs malformed: chat_template_kwargs is no object");
}

TEST_CASE("encoded rows", "[data][rows]") {
  const Row row = row_of(R"({"input_ids": [1, 2, 3], "labels": [-100, 2, 3], "loss_scale": [0, 1, 0.5]})");
  const auto& tokens = std::get<TokenRow>(row);
  CHECK(tokens.input_ids == std::vector<std::int32_t>{1, 2, 3});
  CHECK(tokens.labels == std::vector<std::int32_t>{-100, 2, 3});
  CHECK(tokens.loss_scale == std::vector<float>{0, 1, 0.5F});
  const std::string malformed = "dropped: input_ids, labels or loss_scale malformed: ";
  CHECK(told(R"({"input_ids": [1], "labels": [1, 2]})") == malformed + "lists of different lengths");
  CHECK(told(R"({"input_ids": [1]})") == malformed + "labels is no list");
  CHECK(told(R"({"input_ids": [1.5], "labels": [1]})") == malformed + "input_ids holds what is no token id");
  CHECK(told(R"({"input_ids": [-1], "labels": [1]})") == malformed + "input_ids holds what is no token id");
  CHECK(told(R"({"input_ids": [1], "labels": [-5]})") == malformed + "labels holds what is no token id");
  CHECK(told(R"({"input_ids": [99999999999], "labels": [1]})") ==
        malformed + "input_ids holds what is no token id");
  CHECK(told(R"({"input_ids": [1], "labels": [1], "loss_scale": ["x"]})") ==
        malformed + "loss_scale holds no number");
  CHECK(told(R"({"input_ids": [], "labels": []})") == malformed + "input_ids is empty");
}

TEST_CASE("what was left out is counted by reason, with the first place", "[data][rows]") {
  DropCounts counts;
  counts.add(DropReason::too_long, 1, 3);
  counts.add(DropReason::too_long, 0, 9);
  DropCounts others;
  others.add(DropReason::unknown_role, 1, 1);
  others.add(DropReason::too_long, 0, 7);
  counts.add(others);
  CHECK(counts.total() == 4);
  CHECK(counts.lines({"a.jsonl", "b.json"}) ==
        std::vector<std::string>{"3 rows left out: longer than max_length (first: a.jsonl:7)",
                                 "1 row left out: unknown role (first: b.json:1)"});
  for (std::size_t i = 0; i < kDropReasons; ++i) CHECK_FALSE(reason_text(DropReason(i)).empty());
}
