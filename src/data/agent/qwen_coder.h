#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/agent/agent.h"

/// Qwen3-Coder and Qwen3.5: calls as <function=..> with one <parameter=..> after the other.
namespace moebius::data::qwen_coder {

/// Schemas as XML, behind the system text.
[[nodiscard]] std::string tools(std::span<const Json> tools, const std::optional<std::string>& system);
/// Schemas as JSON, in front of it: Qwen3.5.
[[nodiscard]] std::string tools_before_system(std::span<const Json> tools,
                                              const std::optional<std::string>& system);

[[nodiscard]] std::string calls(Messages calls);
[[nodiscard]] std::string_view before_calls(std::string& text);
/// Where the text is more than a thought; it stays as it is: Qwen3.5.
[[nodiscard]] std::string_view before_calls_after_thought(std::string& text);

[[nodiscard]] std::vector<std::string> results(const Template& style, Messages results);
[[nodiscard]] std::string standalone(const Template& style, Messages results);

}  // namespace moebius::data::qwen_coder
