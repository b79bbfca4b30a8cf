#include "data/agent/agent.h"

#include <algorithm>
#include <array>

#include "data/agent/deepseek.h"
#include "data/agent/glm.h"
#include "data/agent/hermes.h"
#include "data/agent/llama.h"
#include "data/agent/qwen_coder.h"
#include "data/agent/react.h"

namespace moebius::data {
namespace {

constexpr AgentTemplate hermes_like(std::string_view name) {
  return {.name = name,
          .tools = hermes::tools,
          .calls = hermes::calls,
          .results = hermes::results,
          .standalone = hermes::standalone};
}

constexpr AgentTemplate hunyuan_hermes() {
  return {.name = "hunyuan_hermes",
          .tools = hermes::hunyuan_tools,
          .calls = hermes::hunyuan_calls,
          .results = hermes::hunyuan_results,
          .standalone = hermes::hunyuan_standalone};
}

constexpr AgentTemplate qwen3_coder() {
  return {.name = "qwen3_coder",
          .tools = qwen_coder::tools,
          .calls = qwen_coder::calls,
          .before_calls = qwen_coder::before_calls,
          .results = qwen_coder::results,
          .standalone = qwen_coder::standalone};
}

constexpr AgentTemplate qwen3_5() {
  AgentTemplate made = hermes_like("qwen3_5");
  made.tools = qwen_coder::tools_before_system;
  made.calls = qwen_coder::calls;
  made.before_calls = qwen_coder::before_calls_after_thought;
  return made;
}

constexpr AgentTemplate llama3() {
  return {.name = "llama3",
          .tools = llama::tools,
          .place = ToolsPlace::first_message,
          .calls = llama::calls,
          .results = llama::results};
}

constexpr AgentTemplate deepseek_v3_1() {
  return {.name = "deepseek_v3_1",
          .tools = deepseek::tools,
          .calls = deepseek::calls,
          .results = deepseek::results};
}

constexpr AgentTemplate glm4_like(std::string_view name, decltype(AgentTemplate::tools) tools) {
  return {.name = name,
          .tools = tools,
          .calls = glm::calls_4,
          .results = glm::results_4,
          .standalone = glm::standalone_4};
}

constexpr AgentTemplate glm4_5() {
  return {.name = "glm4_5",
          .tools = glm::tools_4_5,
          .calls = glm::calls_4_5,
          .before_calls = glm::before_calls_4_5,
          .results = glm::results_4_5,
          .standalone = glm::standalone_4_5};
}

constexpr AgentTemplate glm4_7() {
  return {.name = "glm4_7",
          .tools = glm::tools_4_7,
          .calls = glm::calls_4_7,
          .results = glm::results_4_7,
          .standalone = glm::standalone_4_7};
}

constexpr AgentTemplate react_like(std::string_view name, decltype(AgentTemplate::tools) tools) {
  return {.name = name, .tools = tools, .calls = react::calls};
}

constexpr AgentTemplate with_standalone(AgentTemplate base) {
  base.standalone = react::standalone;
  return base;
}

constexpr AgentTemplate qwen_like(std::string_view name, decltype(AgentTemplate::tools) tools) {
  return {.name = name, .tools = tools, .calls = react::qwen_calls, .words = react::kQwenWords};
}

constexpr std::array<AgentTemplate, 18> kAgents{
    hermes_like("hermes"),
    hunyuan_hermes(),
    qwen3_coder(),
    qwen3_5(),
    llama3(),
    deepseek_v3_1(),
    glm4_like("glm4", glm::tools_4),
    glm4_like("chatglm4", glm::tools_chatglm4),
    glm4_5(),
    glm4_7(),
    with_standalone(react_like("react_en", react::tools_en)),
    with_standalone(react_like("react_zh", react::tools_zh)),
    react_like("react_grpo", react::tools_grpo),
    react_like("toolbench", react::tools_toolbench),
    qwen_like("qwen_en", react::qwen_tools_en),
    qwen_like("qwen_zh", react::qwen_tools_zh),
    qwen_like("qwen_en_parallel", react::qwen_tools_en_parallel),
    qwen_like("qwen_zh_parallel", react::qwen_tools_zh_parallel),
};

}  // namespace

std::span<const AgentTemplate> agent_templates() {
  return kAgents;
}

const AgentTemplate* find_agent_template(std::string_view name) {
  const auto* const found = std::find_if(kAgents.begin(), kAgents.end(),
                                         [&](const AgentTemplate& each) { return each.name == name; });
  return found == kAgents.end() ? nullptr : found;
}

}  // namespace moebius::data
