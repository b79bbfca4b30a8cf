#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/agent/agent.h"

/// GLM: a call ends with <|observation|>, which is trained, and results follow at once. GLM-4 writes calls as
/// a name and JSON, GLM-4.5 and 4.6 as <arg_key> and <arg_value>, and GLM-4.7 the same without line ends.
namespace moebius::data::glm {

using Tools = std::span<const Json>;
using System = std::optional<std::string>;

/// The given system text is left out; that of chatglm4 (GLM-4-9B) says who it is.
[[nodiscard]] std::string tools_4(Tools tools, const System& system);
[[nodiscard]] std::string tools_chatglm4(Tools tools, const System& system);
[[nodiscard]] std::string calls_4(Messages calls);
[[nodiscard]] std::vector<std::string> results_4(const Template& style, Messages results);
[[nodiscard]] std::string standalone_4(const Template& style, Messages results);

/// The given system text stands behind the tools.
[[nodiscard]] std::string tools_4_5(Tools tools, const System& system);
[[nodiscard]] std::string calls_4_5(Messages calls);
[[nodiscard]] std::string_view before_calls_4_5(std::string& text);
[[nodiscard]] std::vector<std::string> results_4_5(const Template& style, Messages results);
[[nodiscard]] std::string standalone_4_5(const Template& style, Messages results);

[[nodiscard]] std::string tools_4_7(Tools tools, const System& system);
[[nodiscard]] std::string calls_4_7(Messages calls);
[[nodiscard]] std::vector<std::string> results_4_7(const Template& style, Messages results);
[[nodiscard]] std::string standalone_4_7(const Template& style, Messages results);

}  // namespace moebius::data::glm
