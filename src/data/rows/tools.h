#pragma once
#include <vector>

#include "data/rows/json.h"
#include "data/rows/row.h"

namespace moebius::data {

/// The "tools" column -> schemas: a list, one object, or either as text (JSON; single elements as a Python
/// literal too). Padding nulls are removed, and a bare {"name": ..} is wrapped as
/// {"type": "function", "function": ..}. Null, "" and [] are no tools. Throws Dropped.
[[nodiscard]] std::vector<Json> tools_of(Json column, JsonParser& parser);

/// A tool call's content (an object, or its text) -> name and arguments ("parameters" where they are null;
/// text is parsed). Throws Dropped.
[[nodiscard]] ToolCall tool_call_of(const Json& content, JsonParser& parser);

}  // namespace moebius::data
