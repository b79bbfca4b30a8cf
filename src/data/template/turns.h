#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/agent/agent.h"
#include "data/rows/row.h"
#include "data/template/template.h"

namespace moebius::data {

enum class Speaker : std::uint8_t { user, assistant, tool };

/// A text, and whether it is trained: flags of the message that it came from.
struct Segment {
  std::string text;
  std::optional<bool> loss;
  std::optional<double> loss_scale;
};

/// What one side says before the other answers. A user's turn is one segment; an assistant's has one for each
/// message, since each may be trained or not; a tool's is everything that stands between the answers around
/// it, as the agent template writes it.
struct Turn {
  Speaker speaker = Speaker::user;
  std::vector<Segment> segments;
};

/// A conversation as turns that alternate: calls written as answers, results as turns, neighbours of one
/// speaker joined.
struct Conversation {
  std::optional<std::string> system;  // empty text: explicitly none
  std::vector<Turn> turns;            // may begin with the assistant and end with either
};

/// A template, and how it writes tools; no agent: rows with calls or results are dropped.
struct Style {
  const Template& words;
  const AgentTemplate* agent = nullptr;
};

/// Throws Dropped for a system message that is not the first one, for results that follow neither a call nor
/// a user, and for calls and results that cannot be written.
[[nodiscard]] Conversation conversation_of(const ChatRow& row, const Style& style);

/// Puts `text` before what the first turn says. An answer of several segments becomes one, spelled as the
/// Python list that ms-swift makes of it there.
void put_before_first(const std::string& text, std::vector<Turn>& turns);

/// Index of the last turn of a user or a tool, or -1.
[[nodiscard]] std::ptrdiff_t last_question(const std::vector<Turn>& turns);

}  // namespace moebius::data
