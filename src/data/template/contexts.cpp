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

  void begin() {
    other(writing_.before);
    std::string text(writing_.system.empty() ? writing_.style.begin : writing_.style.system);
    replace_all(text, "{{DATE}}", writing_.date);
    replace_all(text, "{{SYSTEM}}", writing_.system);
    other(std::move(text));
  }

  /// Placeholders are filled in this order, so a user who types {{ROUND0}} gets the number of the round, and
  /// a tool's result with {{SYSTEM}} or {{QUERY}} in it is changed: ms-swift's encodings have the same.
  void question(const Turn& turn, std::size_t round) {
    Question& question = written_.questions.emplace_back();
    question.speaker = turn.speaker;
    for (const Segment& segment : turn.segments) question.texts.push_back(segment.text);
    if (turn.speaker != Speaker::tool) {
      return other(filled(std::string(writing_.style.prompt), question.texts.front(), round));
    }
    for (const std::string& text : question.texts) other(filled(text, "", round));
  }

  void answer(Turn turn, std::size_t round, bool is_last_round) {
    for (Segment& segment : turn.segments) {
      written_.contexts.push_back({ContextKind::response, is_last_round, round, std::move(segment)});
    }
  }

  void other(std::string text) { put(ContextKind::other, std::move(text)); }
  void suffix(std::string text) { put(ContextKind::suffix, std::move(text)); }

  Written take() { return std::move(written_); }

 private:
  void put(ContextKind kind, std::string text) {
    if (!text.empty()) written_.contexts.push_back({.kind = kind, .segment = {.text = std::move(text)}});
  }

  [[nodiscard]] std::string filled(std::string text, std::string_view query, std::size_t round) const {
    if (writing_.has_system) replace_all(text, "{{SYSTEM}}", writing_.system);
    replace_all(text, "{{QUERY}}", query);
    replace_all(text, "{{ROUND0}}", fmt::format("{}", round));
    replace_all(text, "{{ROUND1}}", fmt::format("{}", round + 1));
    return text;
  }

  const Writing& writing_;
  Written written_;
};

bool ends_with_stop_word(const Turn& answer, const std::vector<std::string>& stop_words) {
  const std::string& text = answer.segments.back().text;
  return std::any_of(stop_words.begin(), stop_words.end(),
                     [&](const std::string& word) { return text.ends_with(word); });
}

/// From the question on that the last answer answers.
void keep_last_round(std::vector<Turn>& turns) {
  const std::size_t kept = turns.size() % 2 == 0 ? 2 : 1;
  turns.erase(turns.begin(), turns.end() - std::ptrdiff_t(kept));
}

}  // namespace

bool Question::has(std::string_view words) const {
  return std::any_of(texts.begin(), texts.end(), [&](const std::string& text) {
    return speaker == Speaker::tool ? text == words : text.find(words) != std::string::npos;
  });
}

Written written(std::vector<Turn> turns, const Writing& writing) {
  if (turns.front().speaker == Speaker::assistant) turns.insert(turns.begin(), {Speaker::user, {{}}});
  if (writing.style.is_one_round) keep_last_round(turns);
  const std::size_t rounds = (turns.size() + 1) / 2;
  const bool is_training = writing.purpose == Purpose::training;
  Writer writer(writing);
  writer.begin();
  for (std::size_t round = 0; round < rounds; ++round) {
    writer.question(turns[2 * round], round);
    const bool is_last = round + 1 == rounds;
    if (2 * round + 1 == turns.size()) {
      writer.other(writing.response_prefix);
      break;
    }
    Turn& answer = turns[2 * round + 1];
    const bool is_ended = ends_with_stop_word(answer, writing.stop_words) || !writing.after.empty();
    writer.answer(std::move(answer), round, is_last);
    if (is_last) {
      if (!is_ended && is_training) writer.suffix(writing.suffix);
    } else if (turns[2 * round + 2].speaker != Speaker::tool) {
      writer.other(std::string(writing.style.separator));
    }
  }
  writer.suffix(writing.after);
  return writer.take();
}

}  // namespace moebius::data
