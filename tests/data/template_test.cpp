// What each template writes around a conversation, in text: <S> system, <U> user; [[..]] what is trained.
#include "data/template/template.h"

#include <map>
#include <string>
#include <vector>

#include "data/encode/encoder.h"
#include "tests/data/tokenizer_json.h"
#include "tests/support/catch.h"

using namespace moebius;
using namespace moebius::data;

namespace {

const Tokenizer& bytes() {
  static const Tokenizer shared = test::load(test::small_tokenizer_json({}));
  return shared;
}

struct Case {
  std::string style, row;
  std::string loss_scale = "default";
  std::string agent = "auto";
};

std::string shown(const Case& given, const TokenizerWords& words = {}) {
  job::Job job;
  job.started_on = "05 Nov 2026";
  if (given.style == "pretrain") {
    job.objective.kind = job::ObjectiveKind::pretrain;
  } else {
    job.data.template_name = given.style;
  }
  job.data.loss_scale = given.loss_scale;
  job.data.agent_template = given.agent;
  JsonParser parser;
  std::optional<Json> value = parser.parse(given.row);
  REQUIRE(value.has_value());
  const Row row = read_row(std::move(*value->as<Json::Object>()), {}, parser);
  const Encoded encoded = Encoder(&bytes(), encode_settings(job, {}), words).encode(row);
  if (const auto* dropped = std::get_if<Dropped>(&encoded)) return "dropped: " + dropped->text();
  const auto& sample = std::get<Sample>(encoded);
  std::string text;
  for (std::size_t begin = 0, end = 0; begin < sample.ids.size(); begin = end) {
    const bool is_trained = sample.labels[begin] != kNotTrained;
    std::vector<std::int32_t> run;
    for (; end < sample.ids.size() && (sample.labels[end] != kNotTrained) == is_trained; ++end) {
      run.push_back(sample.ids[end]);
    }
    const std::string part = bytes().decode(run, SpecialTokens::keep);
    text += is_trained ? "[[" + part + "]]" : part;
  }
  return text;
}

const std::string kRow =
    R"({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"},
  {"role": "assistant", "content": "a"}, {"role": "user", "content": "V"}, {"role": "assistant",
  "content": "b"}]})";
const std::string kShort = R"({"query": "U", "response": "a"})";

}  // namespace

TEST_CASE("a conversation in each template's words", "[data][template]") {
  const std::string chatml =
      "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n[[a<|im_end|>"
      "\n]]"
      "<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n[[b<|im_end|>\n]]";
  const auto llama = [](const std::string& system) {
    return "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n" + system +
           "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|><|start_header_id|>assistant"
           "<|end_header_id|>\n\n[[a<|eot_id|>]]<|start_header_id|>user<|end_header_id|>\n\nV<|eot_id|>"
           "<|start_header_id|>assistant<|end_header_id|>\n\n[[b<|eot_id|>]]";
  };
  const auto deepseek = [](const std::string& mark) {
    return "<｜begin▁of▁sentence｜>S<｜User｜>U<｜Assistant｜>" + mark +
           "[[a<｜end▁of▁sentence｜>]]<｜User｜>V"
           "<｜Assistant｜>" +
           mark + "[[b<｜end▁of▁sentence｜>]]";
  };
  const std::string glm4 =
      "[gMASK]<sop><|system|>\nS<|user|>\nU<|assistant|>\n[[a<|user|>]]\nV<|assistant|>\n"
      "[[b<|user|>]]";
  const std::string glm4_5 =
      "[gMASK]<sop><|system|>\nS<|user|>\nU<|assistant|>\n<think></think>\n[[a<|user|>]]\nV"
      "<|assistant|>\n<think></think>\n[[b<|user|>]]";
  const std::map<std::string, std::string> expected{
      {"chatml", chatml},
      {"qwen", chatml},
      {"qwen3_coder", chatml},
      {"qwq", chatml},
      {"llama3", llama("S")},
      {"llama3_2", llama("Cutting Knowledge Date: December 2023\nToday Date: 05 Nov 2026\n\nS")},
      {"deepseek_v2_5", deepseek("")},
      {"deepseek_r1", deepseek("")},
      {"deepseek_v3_1", deepseek("</think>")},
      {"glm4", glm4},
      {"glm4_5", glm4_5},
      {"glm4_7",
       "[gMASK]<sop><|system|>S<|user|>U<|assistant|></think>[[a<|user|>]]V<|assistant|></"
       "think>[[b<|user|>]]"},
      {"dummy", "dropped: a system text that the template has no place for: dummy"},
  };
  for (const auto& [style, text] : expected) {
    INFO(style);
    CHECK(shown({style, kRow}) == text);
  }
}

TEST_CASE("where the row has no system text", "[data][template]") {
  CHECK(shown({"qwen", kShort}).starts_with("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"));
  CHECK(shown({"qwen3_coder", kShort}).starts_with("<|im_start|>user\nU"));
  CHECK(shown({"llama3", kShort}).starts_with("<|begin_of_text|><|start_header_id|>user"));
  CHECK(shown({"llama3_2", kShort})
            .starts_with(
                "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: "
                "December 2023\nToday Date: 05 Nov 2026\n\n<|eot_id|><|start_header_id|>user"));
  CHECK(shown({"deepseek_r1", kShort}).starts_with("<｜begin▁of▁sentence｜><｜User｜>U"));
  CHECK(shown({"glm4_5", kShort}).starts_with("[gMASK]<sop><|user|>\nU"));
}

TEST_CASE("thinking: marks and history, by template", "[data][template]") {
  const std::string row = R"({"messages": [{"role": "user", "content": "U"}, {"role": "assistant",
    "content": "<think>t</think> a "}, {"role": "user", "content": "V"}, {"role": "assistant", "content": "b"}]})";
  const auto tail = [&](const std::string& style) {
    const std::string text = shown({style, row, "last_round"});
    return text.substr(text.find("U<"));
  };
  CHECK(tail("deepseek_v3_1") ==
        "U<｜Assistant｜></think>a<｜end▁of▁sentence｜><｜User｜>V<｜Assistant｜></"
        "think>[[b<｜end▁of▁sentence｜>]]");
  CHECK(tail("deepseek_r1") ==
        "U<｜Assistant｜>a<｜end▁of▁sentence｜><｜User｜>V<｜Assistant｜>[[b<｜end▁of▁sentence｜>]]");
  CHECK(tail("glm4_5") ==
        "U<|assistant|>\n<think></think>\na<|user|>\nV<|assistant|>\n<think></think>\n[[b<|user|>]]");
  CHECK(tail("glm4_7") == "U<|assistant|></think>a<|user|>V<|assistant|></think>[[b<|user|>]]");
  // An answer to a tool is not marked in DeepSeek-V3.1.
  CHECK(shown({"deepseek_v3_1", R"({"messages": [{"role": "user", "content": "U"}, {"role": "tool_call",
    "content": {"name": "f", "arguments": {}}}, {"role": "tool", "content": "R"}, {"role": "assistant",
    "content": "b"}]})"})
            .ends_with("<｜tool▁output▁end｜>[[b<｜end▁of▁sentence｜>]]"));
}

TEST_CASE("GLM's calls follow its mark at once", "[data][template]") {
  const std::string row = R"({"messages": [{"role": "user", "content": "U"}, {"role": "tool_call", "content":
    {"name": "f", "arguments": {}}}, {"role": "tool", "content": "R"}, {"role": "assistant", "content": "b"}]})";
  CHECK(shown({"glm4_5", row}) ==
        "[gMASK]<sop><|user|>\nU<|assistant|>\n<think></think>[[<tool_call>f\n</tool_call><|observation|>]]"
        "\n<tool_response>\nR\n</tool_response><|assistant|>\n<think></think>\n[[b<|user|>]]");
  CHECK(shown({"glm4", row}) ==
        "[gMASK]<sop><|user|>\nU<|assistant|>[[f\n{}<|observation|>]]\nR<|assistant|>\n[[b<|user|>]]");
}

TEST_CASE("Llama 3 tells tools in the first message", "[data][template]") {
  const std::string text = shown({"llama3", R"({"query": "U", "response": "a", "tools": [{"name": "f"}]})"});
  CHECK(text.starts_with("<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nGiven the following"));
  CHECK(text.find("\n\nU<|eot_id|>") != std::string::npos);
  // Before an answer that comes first; several of them become one, printed as Python prints a list.
  CHECK(shown({"llama3", R"({"messages": [{"role": "assistant", "content": "a"}, {"role": "assistant",
    "content": "b", "loss": false}], "tools": [{"name": "f"}]})"})
            .ends_with("\n\n['a', 'b']<|eot_id|>]]"));
}

TEST_CASE("rows with tools are dropped where no agent template goes with the template", "[data][template]") {
  const std::string row = R"({"query": "U", "response": "a", "tools": [{"name": "f"}]})";
  for (const char* style : {"chatml", "deepseek_v2_5", "deepseek_r1", "dummy"}) {
    CHECK(shown({style, row}).starts_with("dropped: tools that the template cannot write"));
  }
  CHECK(shown({"chatml", row, "default", "hermes"}).find("# Tools") != std::string::npos);
}

TEST_CASE("text as it is, between the tokenizer's own marks", "[data][template]") {
  const TokenizerWords words{.eos = "</s>", .around = {.before = "<s>", .after = ""}};
  CHECK(shown({"pretrain", R"({"response": "some text"})"}, words) == "<[[s>some text</s>]]");
  CHECK(shown({"pretrain", kRow}, words) == "<[[s>Vb</s>]]");  // no system, only the last round
  CHECK(shown({"dummy", kShort}, words) == "<s>U[[a</s>]]");
  CHECK(shown({"chatml", kShort}, words).starts_with("<s><|im_start|>user"));
  CHECK(shown({"qwen3_nothinking", kShort}, words).starts_with("<|im_start|>user"));
  const TokenizerWords closing{.eos = "</s>", .around = {.before = "", .after = "[SEP]"}};
  CHECK(shown({"chatml", kShort}, closing).ends_with("[[a[SEP]]]"));
}
