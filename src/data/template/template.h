#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace moebius::data {

/// How a family of models wants a conversation written. Names and strings are ms-swift's; {{SYSTEM}},
/// {{QUERY}} and {{DATE}} mark where text goes in. The order in a conversation:
///
///   begin or system   prompt  response  separator   prompt  response  separator ...  suffix
struct Template {
  std::string_view name;
  std::string_view begin;           // of a conversation without system text
  std::string_view system;          // of one with it; empty: such rows are dropped
  std::string_view prompt;          // around what the user says, up to where the answer begins
  std::string_view separator;       // after an answer that another round follows
  std::string_view suffix;          // after the last answer
  std::string_view default_system;  // empty: none
  std::string_view agent;           // its agent template's name; empty: none, and rows with tools are dropped
  std::array<std::string_view, 3>
      stop_words{};  // texts that end an answer, besides suffix and tokenizer's eos

  bool begins_as_tokenizer = false;  // first what the tokenizer puts before any text, mostly nothing or bos
  bool ends_with_eos = false;        // the suffix is the tokenizer's eos
  bool is_one_round = false;         // only the last question and its answer are written
  bool ignores_system = false;       // rows with a system text are written without it
  bool joins_calls = false;          // GLM: no line end between "<|assistant|>" and a call

  bool is_thinking = false;              // answers may begin with <think> .. </think>
  std::string_view thinking_prefix;      // of a generated answer that is to think
  std::string_view non_thinking_prefix;  // of answers that do not think; empty: nothing marks them
  std::string_view history_prefix;       // of old answers whose thinking is taken out
  bool marks_after_user_only = false;    // an answer to a tool gets no non_thinking_prefix

  [[nodiscard]] constexpr bool writes_date() const {
    return begin.find("{{DATE}}") != begin.npos || system.find("{{DATE}}") != system.npos;
  }
  /// Answers with and without thinking, told apart by what they begin with.
  [[nodiscard]] constexpr bool is_hybrid() const { return is_thinking && !non_thinking_prefix.empty(); }
};

/// All templates.
[[nodiscard]] std::span<const Template> templates();

/// Text as it is, between what the tokenizer puts before any text and its eos: of pretraining.
[[nodiscard]] const Template& plain_text_template();

/// The template of that name, or nullptr.
[[nodiscard]] const Template* find_template(std::string_view name);

}  // namespace moebius::data
