#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/rows/row.h"
#include "data/template/template.h"
#include "data/template/turns.h"

/// How tools, calls and results are written with the agent template "hermes", to the letter of ms-swift's.
namespace moebius::data::hermes {

/// The system text with the tools under it. With no system the text still begins with two line ends, unlike
/// the models' own chat templates.
[[nodiscard]] std::string system_with_tools(std::string_view system, std::span<const Json> tools);

/// <tool_call>..</tool_call>, one call after the other.
[[nodiscard]] std::string calls(std::span<const Message> calls);

/// What stands between an answer and the next one where tools gave `results`: a user's turn around
/// <tool_response>s. If the answer is in ReAct's words (Action: and Action Input:), it gets ReAct's
/// "Observation:" at its end instead, and the results follow with no turn around them.
[[nodiscard]] std::vector<std::string> results(const Template& style, std::vector<Segment>& answer,
                                               std::span<const Message> results);

/// What is appended to a user's text where results follow it and no call stands before them.
[[nodiscard]] std::string standalone_results(const Template& style, std::span<const Message> results);

}  // namespace moebius::data::hermes
