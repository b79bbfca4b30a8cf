#include "data/encode/encoder.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "data/rows/python_text.h"
#include "tests/data/tokenizer_json.h"
#include "tests/support/catch.h"

using namespace moebius;
using namespace moebius::data;

namespace {

/// Bytes, chatml's and Qwen's special tokens, and one merge: two line ends are a token.
Tokenizer chat_tokenizer() {
  nlohmann::json json = test::small_tokenizer_json({{"Ċ", "Ċ"}});
  for (const char* token : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) test::add_token(json, token);
  for (const char* token : {"<think>", "</think>"}) test::add_token(json, token, {{"special", false}});
  return test::load(json);
}

const Tokenizer& tokenizer() {
  static const Tokenizer shared = chat_tokenizer();
  return shared;
}

Row row_of(const std::string& json) {
  JsonParser parser;
  std::optional<Json> value = parser.parse(json);
  INFO(json);
  REQUIRE(value.has_value());
  return read_row(std::move(*value->as<Json::Object>()), {}, parser);
}

job::Job job_with(const std::string& style, const std::string& loss_scale = "default") {
  job::Job job;
  job.data.template_name = style;
  job.data.loss_scale = loss_scale;
  return job;
}

Encoder encoder_of(const job::Job& job, Weights weights = Weights::on_or_off) {
  EncodeSettings settings = encode_settings(job, {});
  settings.weights = weights;
  return {&tokenizer(), settings, {.eos = "<|im_end|>", .around = {}}};
}

std::string decoded(const std::vector<std::int32_t>& ids) {
  return tokenizer().decode(ids, SpecialTokens::keep);
}

/// The text with what is trained in [[..]] and the marks of turns made short: <s> system, <u> user,
/// <a> assistant, <e> the end of a turn with its line end.
std::string shown(const Encoded& encoded) {
  if (const auto* dropped = std::get_if<Dropped>(&encoded)) return "dropped: " + dropped->text();
  const auto& sample = std::get<Sample>(encoded);
  REQUIRE(sample.labels.size() == sample.ids.size());
  std::string text;
  std::size_t begin = 0;
  for (std::size_t i = 1; i <= sample.ids.size(); ++i) {
    const bool is_trained = sample.labels[begin] != kNotTrained;
    if (i < sample.ids.size() && (sample.labels[i] != kNotTrained) == is_trained) continue;
    const std::vector<std::int32_t> run(sample.ids.begin() + std::ptrdiff_t(begin),
                                        sample.ids.begin() + std::ptrdiff_t(i));
    if (is_trained) {
      CHECK(std::equal(run.begin(), run.end(), sample.labels.begin() + std::ptrdiff_t(begin)));
    }
    text += is_trained ? "[[" + decoded(run) + "]]" : decoded(run);
    begin = i;
  }
  replace_all(text, "<|im_start|>system\n", "<s>");
  replace_all(text, "<|im_start|>user\n", "<u>");
  replace_all(text, "<|im_start|>assistant\n", "<a>");
  replace_all(text, "<|im_end|>\n", "<e>");
  replace_all(text, "<think>\n\n</think>\n\n", "<none>");
  return text;
}
std::string shown(const job::Job& job, const std::string& json) {
  return shown(encoder_of(job).encode(row_of(json)));
}

std::string prompt(const job::Job& job, const std::string& json) {
  const Row row = row_of(json);
  Sample sample{.ids = encoder_of(job).encode_prompt(std::get<ChatRow>(row))};
  sample.labels.assign(sample.ids.size(), kNotTrained);
  return shown(Encoded(sample));
}

const std::string kTwoRounds = R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant",
  "content": "r"}, {"role": "user", "content": "q2"}, {"role": "assistant", "content": "r2"}]})";

const std::string kThinks = R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant",
  "content": "<think>\nt\n</think>\n\n r "}, {"role": "user", "content": "q2"}, {"role": "assistant",
  "content": "<think>\nt\n</think>\n\nr2"}]})";

}  // namespace

TEST_CASE("answers and the ends of their turns are trained", "[data][encode]") {
  CHECK(shown(job_with("qwen3_nothinking"), kTwoRounds) == "<u>q<e><a>[[r<e>]]<u>q2<e><a>[[r2<e>]]");
  CHECK(shown(job_with("qwen3_nothinking", "last_round"), kTwoRounds) ==
        "<u>q<e><a>r<e><u>q2<e><a>[[r2<e>]]");
  CHECK(shown(job_with("qwen3_nothinking", "all"), kTwoRounds) ==
        "<|im_start|>[[user\nq<e><a>r<e><u>q2<e><a>r2<e>]]");
  CHECK(shown(job_with("qwen3_nothinking"), R"({"text": "only"})") == "<u><e><a>[[only<e>]]");
  CHECK(shown(job_with("qwen3_nothinking"), R"({"query": "no answer"})") == "<u>no answer<e><a>");
}

TEST_CASE("the system text: of the row, of the job, of the template", "[data][encode]") {
  const std::string row = R"({"query": "q", "response": "r"})";
  CHECK(shown(job_with("qwen2_5"), row) ==
        "<s>You are Qwen, created by Alibaba Cloud. You are a helpful assistant.<e><u>q<e><a>[[r<e>]]");
  job::Job job = job_with("qwen2_5");
  job.data.system = R"(Be\nkind.)";
  CHECK(shown(job, row) == "<s>Be\nkind.<e><u>q<e><a>[[r<e>]]");
  CHECK(shown(job, R"({"system": "own", "query": "q", "response": "r"})") == "<s>own<e><u>q<e><a>[[r<e>]]");
  CHECK(shown(job, R"({"system": "", "query": "q", "response": "r"})") == "<u>q<e><a>[[r<e>]]");
  CHECK(shown(job_with("qwen3_thinking"), row) == "<u>q<e><a>[[r<e>]]");
}

TEST_CASE("neighbours of one speaker are joined, and each answer keeps its flags", "[data][encode]") {
  const job::Job job = job_with("qwen3_nothinking");
  CHECK(shown(job, R"({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"},
    {"role": "assistant", "content": "c", "loss": false}, {"role": "assistant", "content": "d"}]})") ==
        "<u>ab<e><a>c[[d<e>]]");
  // With loss false on the last answer its end is still trained, on an earlier one it is not.
  CHECK(shown(job, R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r",
    "loss": false}, {"role": "user", "content": "q2"}, {"role": "assistant", "content": "r2", "loss": false}]})") ==
        "<u>q<e><a>r<e><u>q2<e><a>r2[[<e>]]");
  CHECK(
      shown(
          job_with("qwen3_nothinking", "last_round"),
          R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r", "loss": true},
    {"role": "user", "content": "q2"}, {"role": "assistant", "content": "r2"}]})") ==
      "<u>q<e><a>[[r<e>]]<u>q2<e><a>[[r2<e>]]");
}

TEST_CASE("weights of messages switch tokens on and off, or stay numbers where asked", "[data][encode]") {
  const Row row =
      row_of(R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r",
    "loss_scale": 0.5}, {"role": "assistant", "content": "s", "loss_scale": 0}]})");
  const Encoded binary = encoder_of(job_with("qwen3_nothinking")).encode(row);
  CHECK(shown(binary) == "<u>q<e><a>[[r]]s[[<e>]]");
  CHECK(std::get<Sample>(binary).loss_scale.empty());
  const Encoded weighed = encoder_of(job_with("qwen3_nothinking"), Weights::numbers).encode(row);
  CHECK(shown(weighed) == "<u>q<e><a>[[r]]s[[<e>]]");
  const std::vector<float>& weights = std::get<Sample>(weighed).loss_scale;
  const std::size_t tokens = std::get<Sample>(weighed).ids.size();
  REQUIRE(weights.size() == tokens);
  CHECK(std::vector<float>(weights.end() - 5, weights.end()) == std::vector<float>{0, 0.5F, 0, 1, 1});
}

TEST_CASE("pieces of different weight are tokenized apart", "[data][encode]") {
  const std::string row = R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant",
    "content": "\n"}]})";
  const auto double_line_end = *tokenizer().id_of("ĊĊ");
  const auto has_it = [&](const std::string& strategy) {
    const Encoded encoded = encoder_of(job_with("qwen3_nothinking", strategy)).encode(row_of(row));
    const std::vector<std::int32_t>& ids = std::get<Sample>(encoded).ids;
    return std::find(ids.begin(), ids.end(), double_line_end) != ids.end();
  };
  CHECK_FALSE(has_it("default"));  // the answer's line end is trained, the prompt's is not
  CHECK(has_it("all"));
}

TEST_CASE("an answer that ends with a stop word gets no suffix", "[data][encode]") {
  const job::Job job = job_with("qwen3_nothinking");
  CHECK(shown(job, R"({"query": "q", "response": "r<|endoftext|>"})") == "<u>q<e><a>[[r<|endoftext|>]]");
  CHECK(shown(job, R"({"query": "q", "response": "r<|im_end|>"})") == "<u>q<e><a>[[r<|im_end|>]]");
  CHECK(shown(job, R"({"query": "q", "response": "r<|im_end|>\n"})") == "<u>q<e><a>[[r<e><e>]]");
}

TEST_CASE("placeholders in a user's text are filled as ms-swift fills them", "[data][encode]") {
  CHECK(shown(job_with("qwen3_nothinking"), R"({"query": "{{ROUND0}}{{ROUND1}}{{QUERY}}{{SYSTEM}}",
    "response": "{{ROUND0}}"})") == "<u>01{{QUERY}}{{SYSTEM}}<e><a>[[{{ROUND0}}<e>]]");
}

TEST_CASE("tools, calls and results in hermes", "[data][encode]") {
  const job::Job job = job_with("qwen3_nothinking");
  CHECK(
      shown(job, R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "look"},
    {"role": "tool_call", "content": {"name": "f", "arguments": {"x": 1.50}}},
    {"role": "tool_call", "content": {"name": "g", "parameters": "{}"}},
    {"role": "tool_response", "content": "a"}, {"role": "tool", "content": "b{{QUERY}}"},
    {"role": "assistant", "content": "done"}]})") ==
      "<u>q<e><a>[[look<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": "
      "1.5}}\n</tool_call>\n<tool_call>\n"
      "{\"name\": \"g\", \"arguments\": {}}\n</tool_call><e>]]<u><tool_response>\na\n</tool_response>\n"
      "<tool_response>\nb\n</tool_response><e><a>[[done<e>]]");
  const std::string with_tools = shown(job, R"({"query": "q", "response": "r", "tools": [{"name": "f"}]})");
  CHECK(with_tools.starts_with("<s>\n\n# Tools\n\nYou may call one or more functions"));
  CHECK(with_tools.find("<tools>\n{\"type\": \"function\", \"function\": {\"name\": \"f\"}}\n</tools>\n") !=
        std::string::npos);
  CHECK(shown(job, R"({"messages": [{"role": "user", "content": "q"}, {"role": "tool", "content": "result"},
    {"role": "assistant", "content": "r"}]})") ==
        "<u>q<e><u><tool_response>\nresult\n</tool_response><e><a>[[r<e>]]");
}

TEST_CASE("an answer in ReAct's words gets its results as observations", "[data][encode]") {
  CHECK(shown(job_with("qwen3_nothinking"), R"({"messages": [{"role": "user", "content": "q"},
    {"role": "assistant", "content": "Action: f\nAction Input: 1"}, {"role": "tool", "content": "a"},
    {"role": "tool", "content": "b\n"}, {"role": "assistant", "content": "r"}]})") ==
        "<u>q<e><a>[[Action: f\nAction Input: 1\nObservation:]]a\nObservation:b\n[[r<e>]]");
}

TEST_CASE("orders of messages that no template can write are dropped", "[data][encode]") {
  const job::Job job = job_with("qwen3_nothinking");
  CHECK(
      shown(job, R"({"messages": [{"role": "user", "content": "q"}, {"role": "system", "content": "s"}]})") ==
      "dropped: a system message after the first message");
  CHECK(shown(job, R"({"messages": [{"role": "tool", "content": "r"}]})") ==
        "dropped: a tool result out of place");
  CHECK(shown(job, R"({"messages": [{"role": "assistant", "content": "a"}, {"role": "tool", "content": "r"},
    {"role": "user", "content": "q"}]})") ==
        "dropped: a tool result out of place: a user message follows, no answer");
  CHECK(shown(job, R"({"messages": [{"role": "system", "content": "s"}]})") == "dropped: no messages");
}

TEST_CASE("hybrid templates mark answers that do not think, and do not train the mark", "[data][encode]") {
  CHECK(shown(job_with("qwen3"), kTwoRounds) == "<u>q<e><a><none>[[r<e>]]<u>q2<e><a><none>[[r2<e>]]");
  CHECK(shown(job_with("qwen3", "last_round"), kTwoRounds) == "<u>q<e><a>r<e><u>q2<e><a><none>[[r2<e>]]");
  job::Job job = job_with("qwen3");
  job.data.disable_ignore_empty_think = true;
  CHECK(shown(job, kTwoRounds) == "<u>q<e><a>[[<none>r<e>]]<u>q2<e><a>[[<none>r2<e>]]");
  job = job_with("qwen3");
  job.data.add_non_thinking_prefix = false;
  CHECK(shown(job, kTwoRounds) == "<u>q<e><a>[[r<e>]]<u>q2<e><a>[[r2<e>]]");
  CHECK(shown(job_with("qwen3"), R"({"query": "q", "response": "<think></think><think>\n</think>r"})") ==
        "<u>q<e><a><think></think><think>\n</think>r[[<e>]]");
}

TEST_CASE("thinking in old answers stays, unless only the last round counts", "[data][encode]") {
  const std::string kept =
      "<u>q<e><a>[[<think>\nt\n</think>\n\n r <e>]]<u>q2<e><a>[[<think>\nt\n</think>\n\nr2<e>]]";
  CHECK(shown(job_with("qwen3"), kThinks) == kept);
  CHECK(shown(job_with("qwen3", "last_round"), kThinks) ==
        "<u>q<e><a>r<e><u>q2<e><a>[[<think>\nt\n</think>\n\nr2<e>]]");
  job::Job job = job_with("qwen3");
  job.data.preserve_thinking = false;
  CHECK(shown(job, kThinks) == "<u>q<e><a>[[r<e>]]<u>q2<e><a>[[<think>\nt\n</think>\n\nr2<e>]]");
  std::string row = kThinks;  // the row's own word wins
  row.insert(row.size() - 1, R"(, "chat_template_kwargs": {"preserve_thinking": true})");
  CHECK(shown(job, row) == kept);
}

TEST_CASE("rows beyond max_length are dropped or cut", "[data][encode]") {
  const std::string row = R"({"query": "q", "response": "answer"})";
  job::Job job = job_with("qwen3_nothinking");
  const std::size_t tokens = std::get<Sample>(encoder_of(job).encode(row_of(row))).ids.size();
  job.data.max_length = std::int64_t(tokens);
  CHECK(shown(job, row) == "<u>q<e><a>[[answer<e>]]");
  job.data.max_length = std::int64_t(tokens) - 3;
  CHECK(shown(job, row) == "dropped: longer than max_length: 28 tokens, max_length is 25");
  job.data.truncation = job::Truncation::right;
  CHECK(shown(job, row) == "<u>q<e><a>[[answe]]");
  job.data.truncation = job::Truncation::left;
  job.data.max_length = 5;
  CHECK(shown(job, row) == "w[[er<e>]]");
  job.data.max_length = 4;
  CHECK(shown(job, row) == "e[[r<e>]]");
}

TEST_CASE("a text beyond max_length is split into samples", "[data][encode]") {
  EncodeSettings settings = encode_settings(job::Job{}, {});
  settings.truncation = job::Truncation::split;
  settings.max_length = 2;
  const Encoder encoder(nullptr, settings, {});
  const Encoded encoded = encoder.encode(TokenRow{{1, 2, 3, 4, 5}, {1, 2, 3, 4, 5}, {1, 2, 3, 4, 5}});
  const std::vector<Sample>& parts = std::get<Parts>(encoded).samples;
  REQUIRE(parts.size() == 3);
  CHECK(parts[1].ids == std::vector<std::int32_t>{3, 4});
  CHECK(parts[1].labels == std::vector<std::int32_t>{-100, 4});
  CHECK(parts[1].loss_scale == std::vector<float>{0, 4});
  CHECK(parts[2].ids == std::vector<std::int32_t>{5});
  CHECK(std::holds_alternative<Sample>(encoder.encode(TokenRow{{1, 2}, {1, 2}, {}})));
}

TEST_CASE("encoded rows need neither tokenizer nor template", "[data][encode]") {
  EncodeSettings settings = encode_settings(job::Job{}, {.model_type = "unheard_of"});
  settings.vocabulary = 10;
  const Encoder encoder(nullptr, settings, {});
  const Encoded encoded = encoder.encode(TokenRow{{1, 2, 3}, {1, -100, 3}, {0.5F, 7, 1}});
  CHECK(std::get<Sample>(encoded).ids == std::vector<std::int32_t>{1, 2, 3});
  CHECK(std::get<Sample>(encoded).labels == std::vector<std::int32_t>{-100, -100, 3});
  CHECK(std::get<Sample>(encoded).loss_scale.empty());  // 1 wherever it counts
  const Encoded weighed = encoder.encode(TokenRow{{1, 2, 3}, {-100, 2, 3}, {1, 0.5F, 1}});
  CHECK(std::get<Sample>(weighed).loss_scale == std::vector<float>{0, 0.5F, 1});
  const Encoded outside = encoder.encode(TokenRow{{1, 10}, {-100, 2}, {}});
  CHECK(std::get<Dropped>(outside).text() == "a token id outside of the vocabulary: 10");
  CHECK_THROWS_AS(encoder.encode(row_of(R"({"query": "q"})")), UsageError);
  settings.style = find_template("qwen3");
  const Encoder without_tokenizer(nullptr, settings, {});
  CHECK_THROWS_WITH(without_tokenizer.encode(row_of(R"({"query": "q"})")),
                    "a row of text needs a tokenizer, but the model has no tokenizer.json");
}

TEST_CASE("prompts end where the model goes on", "[data][encode]") {
  const std::string asks = R"({"messages": [{"role": "user", "content": "q"}]})";
  CHECK(prompt(job_with("qwen3_nothinking"), asks) == "<u>q<e><a>");
  CHECK(prompt(job_with("qwen3_thinking"), asks) == "<u>q<e><a><think>\n");
  CHECK(prompt(job_with("qwen3"), asks) == "<u>q<e><a><none>");
  CHECK(prompt(job_with("qwen3"), R"({"messages": [{"role": "user", "content": "q"}],
    "chat_template_kwargs": {"enable_thinking": true}})") == "<u>q<e><a>");
  job::Job job = job_with("qwen3");
  job.data.response_prefix = R"(so\n)";
  CHECK(prompt(job, asks) == "<u>q<e><a>so\n");
  CHECK(prompt(job_with("qwen3_nothinking"), R"({"messages": [{"role": "user", "content": "q"},
    {"role": "assistant", "content": "half an"}]})") == "<u>q<e><a>half an");
  std::string row = kThinks;
  row.insert(row.size() - 2, R"(, {"role": "user", "content": "q3"})");
  CHECK(prompt(job_with("qwen3_thinking"), row) == "<u>q<e><a>r<e><u>q2<e><a>r2<e><u>q3<e><a><think>\n");
  const Row late = row_of(R"({"messages": [{"role": "user", "content": "q"}, {"role": "system",
    "content": "s"}]})");
  CHECK_THROWS_WITH(encoder_of(job_with("qwen3")).encode_prompt(std::get<ChatRow>(late)),
                    "the messages cannot be a prompt: a system message after the first message");
  CHECK(encoder_of(job_with("qwen3")).stop_ids() ==
        std::vector<std::int32_t>{*tokenizer().id_of("<|endoftext|>"), *tokenizer().id_of("<|im_end|>")});
}
