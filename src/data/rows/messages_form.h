#pragma once
#include <optional>
#include <vector>

#include "data/rows/json.h"
#include "data/rows/row.h"

namespace moebius::data {

/// A list of messages, or its text (JSON, else a Python literal) -> messages. Known forms: role/content and
/// from/value with the usual names of roles, OpenAI's and Anthropic's tool calls, and ShareGPT's short form
/// of
/// {"human": .., "assistant": ..} pairs. A `system` (not null) is put in front unless the first message is
/// one. Throws Dropped.
[[nodiscard]] std::vector<Message> messages_form(Json messages, Json system, JsonParser& parser);

}  // namespace moebius::data
