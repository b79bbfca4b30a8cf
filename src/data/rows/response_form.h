#pragma once
#include <span>
#include <vector>

#include "data/rows/columns.h"
#include "data/rows/json.h"
#include "data/rows/row.h"

namespace moebius::data {

/// Columns query, response, history and system under any of their names (prompt, question, answer, output,
/// text, ...) -> messages; with both instruction and input, alpaca's: the query is the two with a line end
/// between. History is a list of [query, response] or its text as a Python literal. A null half of a pair is
/// left out, so a row without response ends with the user. Takes what it reads out of `columns`. Throws
/// Dropped.
[[nodiscard]] std::vector<Message> response_form(Json::Object& columns);

/// All names that such columns go by, and what they mean.
[[nodiscard]] std::span<const ColumnName> response_names();

}  // namespace moebius::data
