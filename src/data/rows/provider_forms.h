#pragma once
#include <vector>

#include "data/rows/json.h"

namespace moebius::data {

/// Messages with tool calls as OpenAI or Anthropic write them -> messages of roles assistant, tool_call and
/// tool_response, the results in the order of their calls. Other messages pass unchanged. The form is told by
/// the whole list: any message with "tool_calls" makes it OpenAI's, else any content list with tool_use,
/// tool_result or an image with a source makes it Anthropic's. Throws Dropped.
[[nodiscard]] std::vector<Json::Object> from_provider_form(std::vector<Json::Object> messages,
                                                           JsonParser& parser);

}  // namespace moebius::data
