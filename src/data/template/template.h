#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace moebius::data {

/// How a family of models wants a conversation written. Names and strings are ms-swift's; {{SYSTEM}} and
/// {{QUERY}} mark where text goes in. The order in a conversation:
///
///   system   (if there is any)   prompt  response  separator   prompt  response  separator ...  suffix
struct Template {
  std::string_view name;
  std::string_view system;          // around the system text
  std::string_view prompt;          // around what the user says, up to where the answer begins
  std::string_view separator;       // after an answer that another round follows
  std::string_view suffix;          // after the last answer
  std::string_view default_system;  // empty: none
  std::string_view stop_word;  // another text that ends an answer, besides the suffix and the tokenizer's eos

  bool is_thinking = false;              // answers may begin with <think> .. </think>
  std::string_view thinking_prefix;      // of a generated answer that is to think
  std::string_view non_thinking_prefix;  // of answers that do not think; empty: nothing marks them

  /// Answers with and without thinking, told apart by what they begin with.
  [[nodiscard]] bool is_hybrid() const { return is_thinking && !non_thinking_prefix.empty(); }
};

/// All templates that are built.
[[nodiscard]] std::span<const Template> templates();

/// The template of that name, or nullptr.
[[nodiscard]] const Template* find_template(std::string_view name);

/// What a model folder says about its way of writing conversations.
struct ModelText {
  std::string model_type;     // of config.json
  std::string chat_template;  // of tokenizer_config.json or chat_template.jinja; empty: none
};

/// From the contents of config.json, tokenizer_config.json and chat_template.jinja (each empty where the file
/// is absent). Throws InputError where one is not JSON.
[[nodiscard]] ModelText model_text(std::string_view config, std::string_view tokenizer_config,
                                   std::string_view chat_template_file);

/// The template of a model, by `auto`'s rule. Throws UsageError where the model's own chat template is none
/// of those built.
///
///   qwen2             qwen2_5, if its chat template names Alibaba Cloud in the default system, or it has
///   none qwen3, qwen3_moe  with no chat template, or one that asks for enable_thinking: qwen3 (hybrid); one
///   whose
///                     generation prompt opens <think>: qwen3_thinking; another that writes hermes tool
///                     calls: qwen3_nothinking
[[nodiscard]] const Template& automatic_template(const ModelText& model);

}  // namespace moebius::data
