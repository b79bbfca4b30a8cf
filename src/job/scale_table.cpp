#include "job/scale_table.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <fmt/format.h>
#include <initializer_list>
#include <utility>

#include "base/file.h"
#include "job/report.h"
#include "job/toml.h"
#include "job/unknown.h"

namespace moebius::job {
namespace {

constexpr std::int64_t kLongestTable = std::int64_t{1} << 20;

class TableReader {
 public:
  explicit TableReader(const std::string& file) : file_(file) {}

  ScaleTable read(std::string_view text) {
    toml::table root;
    try {
      root = toml::parse(text, file_);
    } catch (const toml::parse_error& error) {
      report(error.source(), fmt::format("not valid TOML: {}", error.description()));
    }
    ScaleTable table;
    for (const auto& [key, node] : root) read_rules(key.str(), node, table);
    if (problems_.empty()) check_kinds(root, table);
    throw_if_any(std::move(problems_));
    return table;
  }

 private:
  void report(const toml::source_region& at, std::string text) {
    problems_.push_back({fmt::format("{}:{}:{}", file_, at.begin.line, at.begin.column), std::move(text)});
  }

  void read_rules(std::string_view name, const toml::node& node, ScaleTable& table) {
    constexpr std::array<std::string_view, 3> lists{"words", "patterns", "questions"};
    if (std::ranges::find(lists, name) == lists.end()) {
      return report(node.source(), fmt::format("unknown name '{}'{} (there are [[words]], [[patterns]] and "
                                               "[[questions]])",
                                               name, meant_word_text(name, lists)));
    }
    const toml::array* rules = node.as_array();
    if (rules == nullptr || !rules->is_array_of_tables()) {
      return report(node.source(), fmt::format("{0} must be a list of tables (write [[{0}]])", name));
    }
    for (const toml::node& rule : *rules) {
      const toml::table& given = *rule.as_table();
      if (name == "words") {
        check_names(given, {"text", "weight", "after"});
        table.words.push_back({text(given, "text"), weight(given, "weight"), weight(given, "after")});
      } else if (name == "patterns") {
        check_names(given, {"pattern", "weight"});
        table.patterns.push_back({text(given, "pattern"), weight(given, "weight")});
      } else {
        check_names(given, {"text", "weight"});
        table.questions.push_back({text(given, "text"), weight(given, "weight")});
      }
    }
  }

  void check_names(const toml::table& rule, std::initializer_list<std::string_view> names) {
    const std::vector<std::string_view> known(names);
    for (const auto& [key, node] : rule) {
      if (std::ranges::find(known, key.str()) != known.end()) continue;
      report(node.source(), fmt::format("unknown key '{}'{} (there are {})", key.str(),
                                        meant_word_text(key.str(), known), quoted_list(known)));
    }
  }

  std::string text(const toml::table& rule, std::string_view key) {
    const auto value = rule[key].value_exact<std::string>();
    if (value && !value->empty()) return *value;
    report(place_of(rule, key), fmt::format("{} must be a text that is not empty", key));
    return {};
  }

  double weight(const toml::table& rule, std::string_view key) {
    const auto value = rule[key].value<double>();
    if (value && std::isfinite(*value) && *value >= 0) return *value;
    report(place_of(rule, key), fmt::format("{} must be a number from 0 on", key));
    return 1;
  }

  static toml::source_region place_of(const toml::table& rule, std::string_view key) {
    const toml::node* node = rule.get(key);
    return node == nullptr ? rule.source() : node->source();
  }

  void check_kinds(const toml::table& root, const ScaleTable& table) {
    if (!table.words.empty() && !table.patterns.empty()) {
      report(root.source(),
             "[[words]] and [[patterns]] cannot stand in one table (put them into two files and chain them "
             "with +)");
    }
    if (table.words.empty() && table.patterns.empty() && table.questions.empty()) {
      report(root.source(), "no rule (write [[words]], [[patterns]] or [[questions]])");
    }
  }

  std::string file_;
  std::vector<Problem> problems_;
};

}  // namespace

ScaleTable parse_scale_table(std::string_view text, const std::string& file) {
  return TableReader(file).read(text);
}

ScaleTable read_scale_table(const std::string& file) {
  return parse_scale_table(read_file(file, kLongestTable), file);
}

}  // namespace moebius::job
