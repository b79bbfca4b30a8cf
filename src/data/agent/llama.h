#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/agent/agent.h"

/// Llama 3: tools are told in the first message, calls are bare JSON, results are turns of the tool's own.
namespace moebius::data::llama {

[[nodiscard]] std::string tools(std::span<const Json> tools, const std::optional<std::string>& system);
[[nodiscard]] std::string calls(Messages calls);
[[nodiscard]] std::vector<std::string> results(const Template& style, Messages results);

}  // namespace moebius::data::llama
