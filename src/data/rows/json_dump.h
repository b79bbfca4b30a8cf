#pragma once
#include <string>
#include <string_view>

#include "data/rows/json.h"

namespace moebius::data {

/// The text that Python's json.dumps(value, ensure_ascii=False) gives: ", " and ": " between, floats as
/// Python's repr writes them (1.50 -> 1.5, 1e5 -> 100000.0), nothing beyond ASCII escaped.
[[nodiscard]] std::string json_dump(const Json& value);

/// The same with indent=4: each item and member on a line of its own.
[[nodiscard]] std::string json_dump_indented(const Json& value);

/// Python's repr of a float: the shortest digits that read back the same.
[[nodiscard]] std::string python_float(double value);

}  // namespace moebius::data
