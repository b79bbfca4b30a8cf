#pragma once
#include <optional>
#include <string_view>

#include "data/rows/json.h"

namespace moebius::data {

/// The value of a Python literal, as ast.literal_eval reads it: "{'a': True, 'b': (1, None)}". Tuples and
/// sets become arrays, keys that are no strings become what json.dumps would make of them. Nothing where the
/// text is no literal, or holds what JSON cannot say (bytes, complex numbers).
[[nodiscard]] std::optional<Json> python_literal(std::string_view text);

}  // namespace moebius::data
