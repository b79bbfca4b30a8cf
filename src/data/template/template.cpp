#include "data/template/template.h"

#include <algorithm>

namespace moebius::data {
namespace {

constexpr Template chatml(std::string_view name) {
  return {.name = name,
          .system = "<|im_start|>system\n{{SYSTEM}}<|im_end|>\n",
          .prompt = "<|im_start|>user\n{{QUERY}}<|im_end|>\n<|im_start|>assistant\n",
          .separator = "<|im_end|>\n",
          .suffix = "<|im_end|>\n",
          .begins_as_tokenizer = true};
}

constexpr Template qwen(std::string_view name, std::string_view default_system = "") {
  Template made = chatml(name);
  made.default_system = default_system;
  made.agent = "hermes";
  made.stop_words = {"<|endoftext|>"};
  made.begins_as_tokenizer = false;
  return made;
}

constexpr Template llama3(std::string_view name) {
  return {.name = name,
          .begin = "<|begin_of_text|>",
          .system = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{{SYSTEM}}<|eot_id|>",
          .prompt =
              "<|start_header_id|>user<|end_header_id|>\n\n{{QUERY}}<|eot_id|>"
              "<|start_header_id|>assistant<|end_header_id|>\n\n",
          .separator = "<|eot_id|>",
          .suffix = "<|eot_id|>",
          .agent = "llama3"};
}

/// There is a system text with the day's date in it even where the row has none.
constexpr Template llama3_2(std::string_view name) {
  Template made = llama3(name);
  made.begin =
      "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
      "Cutting Knowledge Date: December 2023\nToday Date: {{DATE}}\n\n<|eot_id|>";
  made.system =
      "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
      "Cutting Knowledge Date: December 2023\nToday Date: {{DATE}}\n\n{{SYSTEM}}<|eot_id|>";
  return made;
}

constexpr Template deepseek(std::string_view name) {
  return {.name = name,
          .begin = "<｜begin▁of▁sentence｜>",
          .system = "<｜begin▁of▁sentence｜>{{SYSTEM}}",
          .prompt = "<｜User｜>{{QUERY}}<｜Assistant｜>",
          .separator = "<｜end▁of▁sentence｜>",
          .suffix = "<｜end▁of▁sentence｜>"};
}

/// The next question's mark ends an answer, so nothing stands between rounds.
constexpr Template glm4(std::string_view name) {
  return {.name = name,
          .begin = "[gMASK]<sop>",
          .system = "[gMASK]<sop><|system|>\n{{SYSTEM}}",
          .prompt = "<|user|>\n{{QUERY}}<|assistant|>\n",
          .suffix = "<|user|>",
          .agent = "glm4",
          .stop_words = {"<|endoftext|>", "<|user|>", "<|observation|>"},
          .begins_as_tokenizer = true,
          .joins_calls = true};
}

constexpr Template without_line_ends(Template base) {
  base.system = "[gMASK]<sop><|system|>{{SYSTEM}}";
  base.prompt = "<|user|>{{QUERY}}<|assistant|>";
  return base;
}

constexpr Template with_agent(Template base, std::string_view agent) {
  base.agent = agent;
  return base;
}

/// What stands before an answer that thinks, before one that does not, and where thinking was taken out.
struct ThinkingWords {
  std::string_view thinking, without, history;
};

constexpr Template thinking(Template base, const ThinkingWords& words) {
  base.is_thinking = true;
  base.thinking_prefix = words.thinking;
  base.non_thinking_prefix = words.without;
  base.history_prefix = words.history;
  return base;
}

constexpr Template marked_after_user_only(Template base) {
  base.marks_after_user_only = true;
  return base;
}

/// GLM-4-0414 and GLM-Z1 are one template: thinking is a matter of the job there.
constexpr Template opening_thought(Template base, std::string_view prefix) {
  base.thinking_prefix = prefix;
  return base;
}

constexpr ThinkingWords kOpened{.thinking = "<think>\n"};
constexpr ThinkingWords kClosed{.thinking = "<think>", .without = "</think>", .history = "</think>"};
constexpr ThinkingWords kEmptyLine{.without = "<think></think>\n", .history = "<think></think>\n"};
constexpr ThinkingWords kEmptyParagraph{.without = "<think>\n\n</think>\n\n"};

constexpr Template bare(std::string_view name) {
  return {.name = name,
          .prompt = "{{QUERY}}",
          .begins_as_tokenizer = true,
          .ends_with_eos = true,
          .is_one_round = true};
}

constexpr Template without_system(Template base) {
  base.ignores_system = true;
  return base;
}

constexpr Template kPlainText = without_system(bare("plain text"));

constexpr std::array<Template, 17> kTemplates{
    chatml("chatml"),
    qwen("qwen", "You are a helpful assistant."),
    qwen("qwen2_5", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    thinking(qwen("qwq"), kOpened),
    thinking(qwen("qwen3"), kEmptyParagraph),
    thinking(qwen("qwen3_thinking"), kOpened),
    qwen("qwen3_nothinking"),
    with_agent(qwen("qwen3_coder"), "qwen3_coder"),
    llama3("llama3"),
    llama3_2("llama3_2"),
    deepseek("deepseek_v2_5"),
    thinking(deepseek("deepseek_r1"), kOpened),
    marked_after_user_only(thinking(with_agent(deepseek("deepseek_v3_1"), "deepseek_v3_1"), kClosed)),
    opening_thought(glm4("glm4"), "<think>"),
    thinking(with_agent(glm4("glm4_5"), "glm4_5"), kEmptyLine),
    thinking(with_agent(without_line_ends(glm4("glm4_7")), "glm4_7"), kClosed),
    bare("dummy"),
};

}  // namespace

std::span<const Template> templates() {
  return kTemplates;
}

const Template& plain_text_template() {
  return kPlainText;
}

const Template* find_template(std::string_view name) {
  const auto* const found = std::find_if(kTemplates.begin(), kTemplates.end(),
                                         [&](const Template& each) { return each.name == name; });
  return found == kTemplates.end() ? nullptr : found;
}

}  // namespace moebius::data
