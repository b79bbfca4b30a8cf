#pragma once
#include <optional>
#include <string>

#include "data/rows/json.h"
#include "data/rows/row.h"

namespace moebius::data {

/// The text of a content: a string, a number as written, or a list of {"type": "text", "text": ..} joined.
/// Throws Dropped for null, images and anything else.
[[nodiscard]] std::string text_of(Json content);

/// A message with a role of ours and any content -> Message: tool calls parsed, objects in tool results
/// dumped, flags read. Throws Dropped.
[[nodiscard]] Message message_of(Json::Object fields, JsonParser& parser);

/// "loss" and "chat_template_kwargs" switches: null is not given. Throws Dropped{malformed_flags}.
[[nodiscard]] std::optional<bool> switch_of(const Json* value);

/// The value that text holds: JSON, else a Python literal. Nothing where it is neither.
[[nodiscard]] std::optional<Json> loose_value(const std::string& text, JsonParser& parser);

}  // namespace moebius::data
