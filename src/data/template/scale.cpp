#include "data/template/scale.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace moebius::data {
namespace {

using job::ScaleTable;

bool is_zero_or_one(double weight) {
  return weight == 0 || weight == 1;
}

ScaleTable react() {
  return {.words = {{"Action:", 2, 2},
                    {"Action Input:", 2, 2},
                    {"Thought:", 1, 1},
                    {"Final Answer:", 1, 1},
                    {"Observation:", 2, 0}}};
}

ScaleTable alpha_umi() {
  ScaleTable table = react();
  table.words.push_back({"Next:", 2, 2});
  return table;
}

ScaleTable qwen() {
  return {.words = {{"✿FUNCTION✿:", 2, 2}, {"✿ARGS✿:", 2, 2}, {"✿RETURN✿:", 1, 1}, {"✿RESULT✿:", 2, 0}}};
}

ScaleTable agentflan() {
  ScaleTable table;
  for (const char* words : {"Name:", "Action:", "ACTION:", "Tool:", "Command", "Arguments:", "action input",
                            "ACTION_INPUT:", "Action Input:"}) {
    table.words.push_back({words, 1, 3});
  }
  table.words.push_back({"Thought:", 1, 1});
  table.words.push_back({"Final Answer:", 1, 1});
  table.words.push_back({"Observation:", 2, 0});
  table.questions = {{"What is the tool you want to use", 3},
                     {"What are the required parameter names", 3},
                     {"What is the value of", 3},
                     {"What are the required parameter names for this tool", 3}};
  return table;
}

ScaleTable hermes() {
  return {.patterns = {{"<tool_call>.+?</tool_call>", 2}}};
}

/// An empty thought as Qwen, DeepSeek, Seed, Gemma and MiniMax write it.
ScaleTable ignore_empty_think() {
  return {.patterns = {{R"(^<think>\s*</think>\s*)", 0},
                       {"^<seed:think><seed:cot_budget_reflect>The current thinking budget is 0, so I will "
                        "directly start answering the question.</seed:cot_budget_reflect>\n</seed:think>"
                        R"(\s*)",
                        0},
                       {R"(^</think>\s*)", 0},
                       {R"(^<\|channel>thought\n<channel\|>)", 0},
                       {R"(^</mm:think>\s*)", 0}}};
}

ScaleTable ignore_think_prefix() {
  return {.patterns = {{R"(^<think>\n?)", 0}}};
}

struct Named {
  std::string_view name;
  ScaleTable (*table)();
};

constexpr std::array<Named, 8> kScales{{{"base", [] { return ScaleTable{}; }},
                                        {"ignore_empty_think", ignore_empty_think},
                                        {"ignore_think_prefix", ignore_think_prefix},
                                        {"react", react},
                                        {"hermes", hermes},
                                        {"qwen", qwen},
                                        {"agentflan", agentflan},
                                        {"alpha_umi", alpha_umi}}};

}  // namespace

Scale::Scale(std::string name, ScaleTable table) : name_(std::move(name)), table_(std::move(table)) {
  std::string all;
  for (const job::ScaleTable::PatternRule& rule : table_.patterns) {
    patterns_.emplace_back(rule.pattern, Syntax::python, name_);
    all += fmt::format("{}(?:{})", all.empty() ? "" : "|", rule.pattern);
  }
  if (!patterns_.empty()) any_.emplace(all, Syntax::python, name_);
}

bool Scale::is_binary() const {
  return std::all_of(
             table_.words.begin(), table_.words.end(),
             [](const auto& rule) { return is_zero_or_one(rule.weight) && is_zero_or_one(rule.after); }) &&
         std::all_of(table_.patterns.begin(), table_.patterns.end(),
                     [](const auto& rule) { return is_zero_or_one(rule.weight); }) &&
         std::all_of(table_.questions.begin(), table_.questions.end(),
                     [](const auto& rule) { return is_zero_or_one(rule.weight); });
}

std::string Scale::text() const {
  std::string text = name_;
  for (const auto& rule : table_.words) text += fmt::format("\n{} {} {}", rule.text, rule.weight, rule.after);
  for (const auto& rule : table_.patterns) text += fmt::format("\n~ {} {}", rule.pattern, rule.weight);
  for (const auto& rule : table_.questions) text += fmt::format("\n? {} {}", rule.text, rule.weight);
  return text;
}

std::vector<Piece> Scale::split(std::string_view text, const Question* question) const {
  for (const job::ScaleTable::QuestionRule& rule : table_.questions) {
    if (question != nullptr && question->has(rule.text)) return {{std::string(text), rule.weight}};
  }
  if (!table_.words.empty()) return split_at_words(text);
  if (any_) return split_at_patterns(text);
  return {{std::string(text), 1}};
}

std::vector<Piece> Scale::split_at_words(std::string_view text) const {
  using Rule = job::ScaleTable::WordRule;
  const auto rule_at = [&](std::size_t at) -> const Rule* {
    const auto found = std::find_if(table_.words.begin(), table_.words.end(),
                                    [&](const Rule& rule) { return text.substr(at).starts_with(rule.text); });
    return found == table_.words.end() ? nullptr : &*found;
  };
  std::vector<Piece> pieces;
  double weight = 1;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const Rule* rule = rule_at(at);
    if (rule == nullptr) {
      ++at;
      continue;
    }
    if (at > 0) pieces.push_back({std::string(text.substr(begin, at - begin)), weight});
    pieces.push_back({rule->text, rule->weight});
    weight = rule->after;
    begin = at += rule->text.size();
  }
  if (!text.empty()) pieces.push_back({std::string(text.substr(begin)), weight});
  return pieces;
}

std::vector<Piece> Scale::split_at_patterns(std::string_view text) const {
  std::vector<Piece> pieces;
  Pattern::MatchSpace space;
  const auto put = [&](std::size_t begin, std::size_t end) {
    if (begin == end) return;
    const std::string_view part = text.substr(begin, end - begin);
    pieces.push_back({std::string(part), weight_at_front(part, space)});
  };
  std::size_t begin = 0;
  while (const auto match = any_->find(text, begin, space)) {
    put(begin, match->begin);
    put(match->begin, match->end);
    begin = match->end;
  }
  put(begin, text.size());
  return pieces;
}

double Scale::weight_at_front(std::string_view part, Pattern::MatchSpace& space) const {
  for (std::size_t i = 0; i < patterns_.size(); ++i) {
    const auto match = patterns_[i].find(part, 0, space);
    if (match && match->begin == 0) return table_.patterns[i].weight;
  }
  return 1;
}

std::vector<std::string> scale_names() {
  std::vector<std::string> names;
  names.reserve(kScales.size());
  for (const Named& scale : kScales) names.emplace_back(scale.name);
  return names;
}

std::shared_ptr<const Scale> find_scale(std::string_view name) {
  const auto* const found =
      std::find_if(kScales.begin(), kScales.end(), [&](const Named& scale) { return scale.name == name; });
  if (found == kScales.end()) return nullptr;
  return std::make_shared<const Scale>(std::string(name), found->table());
}

}  // namespace moebius::data
