#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/rows/row.h"
#include "data/template/template.h"

namespace moebius::data {

/// The words by which an answer shows itself to be in ReAct's manner: it then gets its results after
/// `observation`, with no turn around them, whatever the agent template.
struct AgentWords {
  std::string_view action, input, observation;
};
inline constexpr AgentWords kReactWords{"Action:", "Action Input:", "Observation:"};

/// Where a conversation's tools are told.
enum class ToolsPlace : std::uint8_t { system, first_message };

using Messages = std::span<const Message>;

/// How tools, calls and results are written, to the letter of ms-swift's agent template of that name. All
/// functions throw Dropped for tools or calls that their way of writing has no words for.
struct AgentTemplate {
  std::string_view name;

  /// The text that tells the tools; with ToolsPlace::system made from the system text and put in its place,
  /// else put before the first message.
  std::string (*tools)(std::span<const Json> tools, const std::optional<std::string>& system) = nullptr;
  ToolsPlace place = ToolsPlace::system;

  /// One run of calls, an answer.
  std::string (*calls)(Messages calls) = nullptr;
  /// What stands between that answer's own text and the calls; may change the text. Absent: nothing.
  std::string_view (*before_calls)(std::string& text) = nullptr;

  /// What stands between an answer and the next one where tools gave results. Absent: the results alone.
  std::vector<std::string> (*results)(const Template& style, Messages results) = nullptr;
  /// What is appended to a user's text where results follow it and no call stands before them. Absent: rows
  /// with such results are dropped.
  std::string (*standalone)(const Template& style, Messages results) = nullptr;

  AgentWords words = kReactWords;
};

[[nodiscard]] std::span<const AgentTemplate> agent_templates();

/// The agent template of that name, or nullptr.
[[nodiscard]] const AgentTemplate* find_agent_template(std::string_view name);

}  // namespace moebius::data
