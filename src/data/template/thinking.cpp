#include "data/template/thinking.h"

#include "data/rows/python_text.h"

namespace moebius::data {
namespace {

constexpr std::string_view kOpen = "<think>";
constexpr std::string_view kClose = "</think>";

void add_prefix(std::string_view prefix, std::string& answer) {
  if (!answer.starts_with(kOpen) && !answer.starts_with(prefix)) answer.insert(0, prefix);
}

/// Leaves what stands after the last </think>, or all where there is none, without white space around it and
/// behind `prefix`.
void remove_thinking(std::string_view prefix, std::string& answer) {
  std::string_view rest = answer;
  if (const auto close = rest.rfind(kClose); close != std::string_view::npos) {
    rest.remove_prefix(close + kClose.size());
  }
  answer = std::string(prefix) + std::string(strip(rest));
}

}  // namespace

Thinking thinking_of(const Template& style, const ThinkingSettings& settings, const ChatOptions& row,
                     Strategy strategy, Purpose purpose) {
  const bool is_by_nature = style.is_thinking && style.non_thinking_prefix.empty();
  const bool is_enabled = row.enable_thinking.value_or(settings.enable_thinking.value_or(is_by_nature));
  const bool last_round_counts = purpose == Purpose::generation || strategy == Strategy::last_round;
  const bool forgets = (style.is_thinking || is_enabled) && last_round_counts;
  const auto& prefix = row.response_prefix ? row.response_prefix : settings.response_prefix;

  Thinking thinking;
  thinking.response_prefix =
      prefix.value_or(std::string(is_enabled ? style.thinking_prefix : style.non_thinking_prefix));
  thinking.add_non_thinking_prefix = settings.add_non_thinking_prefix && !style.non_thinking_prefix.empty();
  thinking.only_last_round = last_round_counts;
  thinking.keep_history = row.preserve_thinking.value_or(settings.preserve_thinking.value_or(!forgets));
  return thinking;
}

void write_thinking(const Template& style, const Thinking& thinking, std::vector<Turn>& turns) {
  const std::ptrdiff_t last = last_question(turns);
  for (std::size_t i = 0; i < turns.size(); ++i) {
    if (turns[i].speaker != Speaker::assistant) continue;
    const bool is_history = std::ptrdiff_t(i) < last;
    std::string& answer = turns[i].segments.front().text;
    const bool may_be_marked =
        !style.marks_after_user_only || (i > 0 && turns[i - 1].speaker == Speaker::user);
    const bool gets_prefix =
        thinking.add_non_thinking_prefix && may_be_marked && !(is_history && thinking.only_last_round);
    if (gets_prefix) add_prefix(style.non_thinking_prefix, answer);
    if (is_history && !thinking.keep_history) remove_thinking(style.history_prefix, answer);
  }
}

}  // namespace moebius::data
