#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/rows/row.h"
#include "data/template/strategy.h"
#include "data/template/template.h"
#include "data/template/turns.h"

namespace moebius::data {

/// What a conversation is written for.
enum class Purpose : std::uint8_t { training, generation };

/// What a job says about thinking; a row may say otherwise.
struct ThinkingSettings {
  std::optional<bool> enable_thinking, preserve_thinking;
  bool add_non_thinking_prefix = true;
  std::optional<std::string> response_prefix;
};

/// The same with every question answered, for one row.
struct Thinking {
  std::string response_prefix;           // what a generated answer begins with
  bool add_non_thinking_prefix = false;  // to answers that do not think, from ...
  bool only_last_round = false;          // ... the last question on, or all of them
  bool keep_history = true;              // thinking in answers before the last question
};

[[nodiscard]] Thinking thinking_of(const Template& style, const ThinkingSettings& settings,
                                   const ChatOptions& row, Strategy strategy, Purpose purpose);

/// Puts the non-thinking prefix before answers that do not begin with thinking, and takes thinking out of
/// those before the last question, as `thinking` says.
void write_thinking(const Template& style, const Thinking& thinking, std::vector<Turn>& turns);

}  // namespace moebius::data
