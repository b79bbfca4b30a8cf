#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/agent/agent.h"

/// DeepSeek-V3.1: calls and results between marks that are tokens.
namespace moebius::data::deepseek {

[[nodiscard]] std::string tools(std::span<const Json> tools, const std::optional<std::string>& system);
[[nodiscard]] std::string calls(Messages calls);
[[nodiscard]] std::vector<std::string> results(const Template& style, Messages results);

}  // namespace moebius::data::deepseek
