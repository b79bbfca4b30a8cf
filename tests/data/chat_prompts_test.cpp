// Prompts for generation beside those of the models' own chat templates. They are ms-swift's; where its rules
// and a chat template disagree, the case is named here with the reason, and must then differ.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "data/encode/encoder.h"
#include "tests/support/catch.h"
#include "tests/support/shared.h"
#include "tests/support/unpacked_tokenizer.h"

namespace moebius::data {
namespace {

using json = nlohmann::ordered_json;  // tools keep the order of their keys

bool has_text_arguments(const json& message) {
  for (const json& call : message.value("tool_calls", json::array())) {
    if (call.value("function", call).value("arguments", json()).is_string()) return true;
  }
  return false;
}

/// Why ms-swift's prompt is not the chat template's; "" where it is.
std::string difference(const std::string& style, const json& line) {
  const json& messages = line["messages"];
  const json enable_thinking = line["kwargs"].value("enable_thinking", json());
  if (line.contains("error")) return "the chat template refuses the messages";
  if (messages.back()["role"] == "assistant")
    return "ms-swift goes on with the last answer, not with a new one";
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (i > 0 && messages[i]["role"] == "system") return "ms-swift drops rows with a late system message";
    if (messages[i].value("content", json()).is_array()) return "the chat template ignores lists of content";
    if (has_text_arguments(messages[i])) return "ms-swift parses arguments that are given as text";
  }
  if (style == "qwen3" && enable_thinking != false) {
    return "ms-swift does not think unless asked: it writes the empty thought";
  }
  if (style == "qwen3_thinking" && enable_thinking == false) return "ms-swift opens no thought then";
  const bool has_tools = !line.value("tools", json::array()).empty();
  if (has_tools && messages.front()["role"] != "system" && style != "qwen2_5") {
    return "ms-swift writes two line ends before the tools where there is no system text";
  }
  return "";
}

/// The line as a row of `generate --messages`.
ChatRow row_of(const json& line) {
  json row = {{"messages", line["messages"]}};
  if (line.contains("tools")) row["tools"] = line["tools"];
  if (line["kwargs"].contains("enable_thinking")) {
    row["chat_template_kwargs"] = {{"enable_thinking", line["kwargs"]["enable_thinking"]}};
  }
  JsonParser parser;
  std::optional<Json> value = parser.parse(row.dump());
  REQUIRE(value.has_value());
  return std::get<ChatRow>(read_row(std::move(*value->as<Json::Object>()), {}, parser));
}

std::vector<std::int32_t> prompt_of(const Encoder& encoder, const json& line) {
  try {
    return encoder.encode_prompt(row_of(line));
  } catch (const InputError&) {
    return {};
  }
}

/// Lines compared, and of those the ones that agree.
std::pair<int, int> check_file(const std::filesystem::path& path, const std::string& style,
                               const Tokenizer& tokenizer) {
  job::Job job;
  job.data.template_name = style;
  const Encoder encoder(&tokenizer, encode_settings(job, {}), {.eos = "<|im_end|>", .around = {}});
  std::ifstream file(path);
  int compared = 0;
  int equal = 0;
  for (std::string text; std::getline(file, text);) {
    const json line = json::parse(text);
    if (!line["kwargs"].value("add_generation_prompt", false)) continue;
    const std::string reason = difference(style, line);
    INFO(path.filename().string() << " " << line["id"] << " " << reason);
    const json expected = line.value("ids", json());
    const bool is_equal =
        expected.is_array() && prompt_of(encoder, line) == expected.get<std::vector<std::int32_t>>();
    CHECK(is_equal == reason.empty());
    ++compared;
    equal += is_equal ? 1 : 0;
  }
  return {compared, equal};
}

std::string automatic(const std::filesystem::path& templates, const std::string& type,
                      const std::string& file) {
  std::ifstream stream(templates / (file + ".jinja"));
  REQUIRE(stream.good());
  const std::string text(std::istreambuf_iterator<char>(stream), {});
  try {
    return std::string(automatic_template({type, text}).name);
  } catch (const UsageError&) {
    return "refused";
  }
}

}  // namespace

TEST_CASE("auto knows the models' own chat templates", "[data][encode]") {
  const auto shared = test::shared_folder();
  if (!shared) return;
  const std::filesystem::path folder = *shared / "data/templates";
  CHECK(automatic(folder, "qwen2", "Qwen-Qwen2.5-7B-Instruct") == "qwen2_5");
  CHECK(automatic(folder, "qwen2", "Qwen-QwQ-32B") == "qwq");
  CHECK(automatic(folder, "qwen2", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B") == "deepseek_r1");
  CHECK(automatic(folder, "qwen3", "Qwen-Qwen3-0.6B") == "qwen3");
  CHECK(automatic(folder, "qwen3_moe", "Qwen-Qwen3-30B-A3B.updated-2025-07") == "qwen3");
  CHECK(automatic(folder, "qwen3_moe", "Qwen-Qwen3-30B-A3B-Instruct-2507") == "qwen3_nothinking");
  CHECK(automatic(folder, "qwen3_moe", "Qwen-Qwen3-30B-A3B-Instruct-2507.rev-fd5492ea-2025-07-29") ==
        "qwen3_nothinking");
  CHECK(automatic(folder, "qwen3_moe", "Qwen-Qwen3-30B-A3B-Thinking-2507") == "qwen3_thinking");
  CHECK(automatic(folder, "qwen3_moe", "Qwen-Qwen3-Coder-30B-A3B-Instruct") == "qwen3_coder");
  CHECK(automatic(folder, "llama", "meta-llama-Llama-3-8B-Instruct.from-npm-lenml-llama3_1") == "llama3");
  CHECK(automatic(folder, "llama", "meta-llama-Llama-3.1-8B-Instruct") == "llama3_2");
  CHECK(automatic(folder, "llama", "meta-llama-Llama-3.2-3B-Instruct") == "llama3_2");
  CHECK(automatic(folder, "llama", "meta-llama-Llama-3.3-70B-Instruct") == "llama3_2");
  CHECK(automatic(folder, "deepseek_v3", "deepseek-ai-DeepSeek-V3.from-npm-lenml") == "deepseek_v2_5");
  CHECK(automatic(folder, "deepseek_v3", "deepseek-ai-DeepSeek-V3.1") == "deepseek_v3_1");
  CHECK(automatic(folder, "glm4_moe", "zai-org-GLM-4.5-Air") == "glm4_5");
  CHECK(automatic(folder, "glm4_moe", "zai-org-GLM-4.6") == "glm4_5");
  CHECK(automatic(folder, "gpt_oss", "openai-gpt-oss-120b") == "refused");
}

TEST_CASE("prompts are the chat templates', but where ms-swift's rules differ", "[data][encode]") {
  const auto shared = test::shared_folder();
  if (!shared) return;
  const std::filesystem::path folder = *shared / "data/fixtures";
  const Tokenizer qwen3 = test::unpacked_tokenizer(*shared, "qwen3");
  const Tokenizer qwen2_5 = test::unpacked_tokenizer(*shared, "qwen2_5");
  using Counts = std::pair<int, int>;
  CHECK(check_file(folder / "chat_qwen2_5.jsonl", "qwen2_5", qwen2_5) == Counts{20, 16});
  CHECK(check_file(folder / "chat_qwen3.jsonl", "qwen3", qwen3) == Counts{20, 2});
  CHECK(check_file(folder / "chat_qwen3_updated.jsonl", "qwen3", qwen3) == Counts{20, 2});
  CHECK(check_file(folder / "chat_qwen3_instruct_2507.jsonl", "qwen3_nothinking", qwen3) == Counts{20, 9});
  CHECK(check_file(folder / "chat_qwen3_thinking_2507.jsonl", "qwen3_thinking", qwen3) == Counts{20, 7});
}

}  // namespace moebius::data
