#include "data/agent/llama.h"

#include <fmt/format.h>

#include "data/agent/function.h"
#include "data/rows/json_dump.h"

namespace moebius::data::llama {

std::string tools(std::span<const Json> tools, const std::optional<std::string>& /*system*/) {
  return fmt::format(
      "Given the following functions, please respond with a JSON for a function call with its proper "
      "arguments that best answers the given prompt.\n\nRespond in the format {{\"name\": function name, "
      "\"parameters\": dictionary of argument name and its value}}. Do not use variables.\n\n{}\n\n",
      joined(tools, "\n\n", json_dump_indented));
}

std::string calls(Messages calls) {
  return joined(calls, "\n", [](const Message& message) {
    Json::Object call;
    call.emplace_back("name", Json(message.call->name));
    call.emplace_back("parameters", message.call->arguments);
    return json_dump(Json(std::move(call)));
  });
}

std::vector<std::string> results(const Template& /*style*/, Messages results) {
  std::vector<std::string> contexts{"<|eot_id|>"};
  for (const Message& result : results) {
    contexts.push_back(
        fmt::format("<|start_header_id|>tool<|end_header_id|>\n\n{}<|eot_id|>", result.content));
  }
  contexts.emplace_back("<|start_header_id|>assistant<|end_header_id|>\n\n");
  return contexts;
}

}  // namespace moebius::data::llama
