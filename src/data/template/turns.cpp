#include "data/template/turns.h"

#include <algorithm>
#include <span>
#include <utility>

#include "data/rows/python_repr.h"

namespace moebius::data {
namespace {

/// The run of messages of one role that begins at `begin`.
std::span<const Message> run_of(const std::vector<Message>& messages, std::size_t begin) {
  std::size_t end = begin;
  while (end < messages.size() && messages[end].role == messages[begin].role) ++end;
  return std::span(messages).subspan(begin, end - begin);
}

const AgentTemplate& agent_of(const Style& style) {
  if (style.agent == nullptr) throw Dropped{DropReason::no_agent_template, std::string(style.words.name)};
  return *style.agent;
}

/// A run of calls is one answer; each flag is that of the first call that has it.
Segment answer_of_calls(std::span<const Message> calls, const AgentTemplate& agent) {
  Segment answer{.text = agent.calls(calls)};
  for (const Message& call : calls) {
    if (!answer.loss) answer.loss = call.loss;
    if (!answer.loss_scale) answer.loss_scale = call.loss_scale;
  }
  return answer;
}

bool speaks(const AgentWords& words, std::string_view text) {
  return text.find(words.action) != std::string_view::npos &&
         text.find(words.input) != std::string_view::npos;
}

/// Whether an answer is in ReAct's manner. Where the agent template has a way of its own to write results,
/// ms-swift asks a list of segments for membership: such an answer counts only if two of them are the words
/// themselves.
bool speaks_react(const std::vector<Segment>& answer, const AgentTemplate& agent) {
  if (!speaks(agent.words, answer.back().text)) return false;
  const auto holds = [&](std::string_view word) {
    return std::any_of(answer.begin(), answer.end(), [&](const Segment& each) { return each.text == word; });
  };
  const bool is_asked_by_list = answer.size() > 1 && agent.results != nullptr;
  return !is_asked_by_list || (holds(agent.words.action) && holds(agent.words.input));
}

std::vector<std::string> react_results(const AgentWords& words, std::string& answer,
                                       std::span<const Message> results) {
  if (!answer.ends_with(words.observation)) {
    if (!answer.ends_with('\n')) answer += '\n';
    answer += words.observation;
  }
  std::vector<std::string> contexts;
  for (const Message& result : results) {
    if (&result != results.data()) contexts.emplace_back(words.observation);
    contexts.push_back(result.content);
    if (!result.content.ends_with('\n')) contexts.emplace_back("\n");
  }
  return contexts;
}

/// What stands between an answer and the next one; may put ReAct's word for results at the answer's end.
std::vector<std::string> results_between(const Style& style, std::vector<Segment>& answer,
                                         std::span<const Message> results) {
  const AgentTemplate& agent = agent_of(style);
  if (speaks_react(answer, agent)) return react_results(agent.words, answer.back().text, results);
  if (agent.results != nullptr) return agent.results(style.words, results);
  std::vector<std::string> contexts;
  contexts.reserve(results.size());
  for (const Message& result : results) contexts.push_back(result.content);
  return contexts;
}

std::string standalone_results(const Style& style, std::span<const Message> results) {
  const AgentTemplate& agent = agent_of(style);
  if (agent.standalone != nullptr) return agent.standalone(style.words, results);
  throw Dropped{DropReason::stray_tool_result, "it follows no call, which agent template \"" +
                                                   std::string(agent.name) + "\" has no words for"};
}

void add_answer(Segment answer, std::vector<Turn>& turns) {
  if (turns.empty() || turns.back().speaker != Speaker::assistant) turns.push_back({Speaker::assistant, {}});
  turns.back().segments.push_back(std::move(answer));
}

void add_question(const std::string& text, std::vector<Turn>& turns) {
  if (!turns.empty() && turns.back().speaker == Speaker::tool) {
    throw Dropped{DropReason::stray_tool_result, "a user message follows, no answer"};
  }
  if (!turns.empty() && turns.back().speaker == Speaker::user) {
    turns.back().segments.front().text += text;
    return;
  }
  turns.push_back({Speaker::user, {{.text = text}}});
}

void add_calls(std::span<const Message> calls, const Style& style, std::vector<Turn>& turns) {
  const AgentTemplate& agent = agent_of(style);
  Segment answer = answer_of_calls(calls, agent);
  const bool follows_answer = !turns.empty() && turns.back().speaker == Speaker::assistant;
  if (agent.before_calls != nullptr && follows_answer) {
    answer.text.insert(0, agent.before_calls(turns.back().segments.back().text));
  }
  add_answer(std::move(answer), turns);
}

void add_results(std::span<const Message> results, const Style& style, std::vector<Turn>& turns) {
  const bool follows_user = !turns.empty() && turns.back().speaker == Speaker::user;
  if (follows_user) {
    turns.back().segments.front().text += standalone_results(style, results);
    return;
  }
  if (turns.empty()) throw Dropped{DropReason::stray_tool_result, {}};
  Turn turn{Speaker::tool, {}};
  for (std::string& text : results_between(style, turns.back().segments, results)) {
    turn.segments.push_back({.text = std::move(text)});
  }
  turns.push_back(std::move(turn));
}

}  // namespace

Conversation conversation_of(const ChatRow& row, const Style& style) {
  Conversation conversation;
  std::vector<Turn>& turns = conversation.turns;
  const std::vector<Message>& messages = row.messages;
  for (std::size_t i = 0; i < messages.size();) {
    const Message& message = messages[i];
    std::size_t used = 1;
    switch (message.role) {
      case Role::system:
        if (i > 0) throw Dropped{DropReason::late_system, {}};
        conversation.system = message.content;
        break;
      case Role::user: add_question(message.content, turns); break;
      case Role::assistant: add_answer({message.content, message.loss, message.loss_scale}, turns); break;
      case Role::tool_call:
        used = run_of(messages, i).size();
        add_calls(run_of(messages, i), style, turns);
        break;
      case Role::tool_result:
        used = run_of(messages, i).size();
        add_results(run_of(messages, i), style, turns);
        break;
    }
    i += used;
  }
  if (turns.empty()) throw Dropped{DropReason::no_messages, {}};
  return conversation;
}

void put_before_first(const std::string& text, std::vector<Turn>& turns) {
  std::vector<Segment>& segments = turns.front().segments;
  if (segments.size() > 1) {
    Json::Array texts;
    for (Segment& segment : segments) texts.emplace_back(std::move(segment.text));
    segments.front().text = python_repr(Json(std::move(texts)));
    segments.resize(1);
  }
  segments.front().text.insert(0, text);
}

std::ptrdiff_t last_question(const std::vector<Turn>& turns) {
  for (std::size_t i = turns.size(); i > 0; --i) {
    if (turns[i - 1].speaker != Speaker::assistant) return std::ptrdiff_t(i) - 1;
  }
  return -1;
}

}  // namespace moebius::data
