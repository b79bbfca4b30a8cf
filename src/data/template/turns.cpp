#include "data/template/turns.h"

#include <span>
#include <utility>

#include "data/template/hermes.h"

namespace moebius::data {
namespace {

/// The run of messages of one role that begins at `begin`.
std::span<const Message> run_of(const std::vector<Message>& messages, std::size_t begin) {
  std::size_t end = begin;
  while (end < messages.size() && messages[end].role == messages[begin].role) ++end;
  return std::span(messages).subspan(begin, end - begin);
}

/// A run of calls is one answer; each flag is that of the first call that has it.
Segment answer_of_calls(std::span<const Message> calls) {
  Segment answer{.text = hermes::calls(calls)};
  for (const Message& call : calls) {
    if (!answer.loss) answer.loss = call.loss;
    if (!answer.loss_scale) answer.loss_scale = call.loss_scale;
  }
  return answer;
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

void add_results(std::span<const Message> results, const Template& style, std::vector<Turn>& turns) {
  const bool follows_user = !turns.empty() && turns.back().speaker == Speaker::user;
  if (follows_user) {
    turns.back().segments.front().text += hermes::standalone_results(style, results);
    return;
  }
  if (turns.empty()) throw Dropped{DropReason::stray_tool_result, {}};
  Turn turn{Speaker::tool, {}};
  for (std::string& text : hermes::results(style, turns.back().segments, results)) {
    turn.segments.push_back({.text = std::move(text)});
  }
  turns.push_back(std::move(turn));
}

}  // namespace

Conversation conversation_of(const ChatRow& row, const Template& style) {
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
        add_answer(answer_of_calls(run_of(messages, i)), turns);
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

std::ptrdiff_t last_question(const std::vector<Turn>& turns) {
  for (std::size_t i = turns.size(); i > 0; --i) {
    if (turns[i - 1].speaker != Speaker::assistant) return std::ptrdiff_t(i) - 1;
  }
  return -1;
}

}  // namespace moebius::data
