#pragma once
#include <string>

#include "data/rows/json.h"

namespace moebius::data {

/// The text that Python's repr gives for the value that json.loads makes of it: {'a': [1, 2.0, None, True]}.
[[nodiscard]] std::string python_repr(const Json& value);

/// Python's str: a text as it is, anything else as repr has it.
[[nodiscard]] std::string python_str(const Json& value);

}  // namespace moebius::data
