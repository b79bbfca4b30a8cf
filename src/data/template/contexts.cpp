#include "data/template/contexts.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "data/rows/python_text.h"

namespace moebius::data {
namespace {

class Writer {
 public:
  explicit Writer(const Writing& writing) : writing_(writing) {}

  void system() {
    if (writing_.system.empty()) return;
    std::string text(writing_.style.system);
    replace_all(text, "{{SYSTEM}}", writing_.system);
    other(std::move(text));
  }

  /// Placeholders are filled in this order, so a user who types {{ROUND0}} gets the number of the round, and
  /// a tool's result with {{SYSTEM}} or {{QUERY}} in it is changed: ms-swift's encodings have the same.
  void question(Turn turn, std::size_t round) {
    const bool is_tool = turn.speaker == Speaker::tool;
    if (is_tool) {
      for (Segment& segment : turn.segments) other(filled(std::move(segment.text), "", round));
      return;
    }
    other(filled(std::string(writing_.style.prompt), turn.segments.front().text, round));
  }

  void answer(Turn turn, bool is_last_round) {
    for (Segment& segment : turn.segments) {
      contexts_.push_back({ContextKind::response, is_last_round, std::move(segment)});
    }
  }

  void other(std::string text) {
    if (!text.empty()) contexts_.push_back({ContextKind::other, true, {.text = std::move(text)}});
  }

  void suffix() {
    contexts_.push_back({ContextKind::suffix, true, {.text = std::string(writing_.style.suffix)}});
  }

  std::vector<Context> take() { return std::move(contexts_); }

 private:
  [[nodiscard]] std::string filled(std::string text, std::string_view query, std::size_t round) const {
    if (writing_.has_system) replace_all(text, "{{SYSTEM}}", writing_.system);
    replace_all(text, "{{QUERY}}", query);
    replace_all(text, "{{ROUND0}}", fmt::format("{}", round));
    replace_all(text, "{{ROUND1}}", fmt::format("{}", round + 1));
    return text;
  }

  const Writing& writing_;
  std::vector<Context> contexts_;
};

bool ends_with_stop_word(const Turn& answer, const std::vector<std::string>& stop_words) {
  const std::string& text = answer.segments.back().text;
  return std::any_of(stop_words.begin(), stop_words.end(),
                     [&](const std::string& word) { return text.ends_with(word); });
}

}  // namespace

std::vector<Context> contexts_of(std::vector<Turn> turns, const Writing& writing) {
  if (turns.front().speaker == Speaker::assistant) turns.insert(turns.begin(), {Speaker::user, {{}}});
  const std::size_t rounds = (turns.size() + 1) / 2;
  Writer writer(writing);
  writer.system();
  for (std::size_t round = 0; round < rounds; ++round) {
    writer.question(std::move(turns[2 * round]), round);
    const bool is_last = round + 1 == rounds;
    if (2 * round + 1 == turns.size()) {
      writer.other(writing.response_prefix);
      break;
    }
    Turn& answer = turns[2 * round + 1];
    const bool is_ended = ends_with_stop_word(answer, writing.stop_words);
    writer.answer(std::move(answer), is_last);
    if (is_last) {
      if (!is_ended && writing.purpose == Purpose::training) writer.suffix();
    } else if (turns[2 * round + 2].speaker != Speaker::tool) {
      writer.other(std::string(writing.style.separator));
    }
  }
  return writer.take();
}

}  // namespace moebius::data
