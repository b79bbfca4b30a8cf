#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/agent/agent.h"

/// ReAct and what is like it: calls are lines of plain text, "Action: name" and "Action Input: arguments" or
/// Qwen's ✿ words, and results follow the word for them with no chat tokens around. Arguments are written as
/// Python prints them.
namespace moebius::data::react {

using Tools = std::span<const Json>;
using System = std::optional<std::string>;

inline constexpr AgentWords kQwenWords{"✿FUNCTION✿:", "✿ARGS✿:", "✿RESULT✿:"};

/// These leave the given system text out.
[[nodiscard]] std::string tools_en(Tools tools, const System& system);
[[nodiscard]] std::string tools_zh(Tools tools, const System& system);
[[nodiscard]] std::string tools_grpo(Tools tools, const System& system);
[[nodiscard]] std::string tools_toolbench(Tools tools, const System& system);

/// These put it in front.
[[nodiscard]] std::string qwen_tools_en(Tools tools, const System& system);
[[nodiscard]] std::string qwen_tools_zh(Tools tools, const System& system);
[[nodiscard]] std::string qwen_tools_en_parallel(Tools tools, const System& system);
[[nodiscard]] std::string qwen_tools_zh_parallel(Tools tools, const System& system);

[[nodiscard]] std::string calls(Messages calls);
[[nodiscard]] std::string qwen_calls(Messages calls);
[[nodiscard]] std::string standalone(const Template& style, Messages results);

}  // namespace moebius::data::react
