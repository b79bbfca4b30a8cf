#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/template/template.h"
#include "data/template/thinking.h"
#include "data/template/turns.h"

namespace moebius::data {

enum class ContextKind : std::uint8_t { response, suffix, other };

/// A stretch of the written conversation that is trained, or not, as a whole.
struct Context {
  ContextKind kind = ContextKind::other;
  bool is_last_round = true;  // of responses
  std::size_t round = 0;      // of responses
  Segment segment;
};

/// What an answer answers: what the user said, or the texts between two answers that a tool stands in.
struct Question {
  Speaker speaker = Speaker::user;
  std::vector<std::string> texts;

  /// Whether a user's text has `words` in it; of a tool's texts, whether one of them is `words`.
  [[nodiscard]] bool has(std::string_view words) const;
};

/// A conversation in the template's words.
struct Written {
  std::vector<Context> contexts;
  std::vector<Question> questions;  // of each round
};

struct Writing {
  const Template& style;
  std::string system;                   // empty: none is written
  bool has_system = false;              // an empty system was given: {{SYSTEM}} in results becomes ""
  std::string date;                     // for {{DATE}}
  std::string before, after;            // what the tokenizer puts around any text, if the template wants it
  std::string suffix;                   // after the last answer
  std::string response_prefix;          // of an answer that is still to come
  std::vector<std::string> stop_words;  // an answer that ends with one gets no suffix
  Purpose purpose = Purpose::training;
};

/// A missing question at the front is an empty one; a missing answer at the end is the response prefix.
[[nodiscard]] Written written(std::vector<Turn> turns, const Writing& writing);

}  // namespace moebius::data
