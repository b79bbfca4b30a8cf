#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/agent/agent.h"

/// Tools as JSON, one a line; calls in <tool_call>, results in <tool_response> within a user's turn: Qwen's
/// models, and Hunyuan's with marks around all of them.
namespace moebius::data::hermes {

/// With no system text the text still begins with two line ends, unlike the models' own chat templates.
[[nodiscard]] std::string tools(std::span<const Json> tools, const std::optional<std::string>& system);
[[nodiscard]] std::string calls(Messages calls);
[[nodiscard]] std::vector<std::string> results(const Template& style, Messages results);
[[nodiscard]] std::string standalone(const Template& style, Messages results);

[[nodiscard]] std::string hunyuan_tools(std::span<const Json> tools,
                                        const std::optional<std::string>& system);
[[nodiscard]] std::string hunyuan_calls(Messages calls);
[[nodiscard]] std::vector<std::string> hunyuan_results(const Template& style, Messages results);
[[nodiscard]] std::string hunyuan_standalone(const Template& style, Messages results);

/// `responses` as a user's turn behind an answer, and behind what a user said.
[[nodiscard]] std::vector<std::string> turn_of(const Template& style, std::string_view responses);
[[nodiscard]] std::string standalone_turn_of(const Template& style, std::string_view responses);

}  // namespace moebius::data::hermes
