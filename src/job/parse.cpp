#include "job/parse.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <optional>
#include <sstream>
#include <utility>

#include "base/text.h"
#include "job/duration.h"
#include "job/toml.h"
#include "job/unknown.h"
#include "job/write.h"

namespace moebius::job {
namespace {

/// "3 is an integer", "[ 1, 2 ] is a list": a node of the file for a message, cut to one short line.
std::string found_text(const toml::node& node) {
  constexpr std::size_t most_bytes = 48;
  std::ostringstream stream;
  node.visit([&](const auto& value) {
    stream << toml::toml_formatter{value, toml::format_flags::allow_unicode_strings};
  });
  std::string text = stream.str();
  std::size_t end = std::min(text.find('\n'), most_bytes);
  while (end < text.size() && (text[end] & 0xC0) == 0x80) --end;  // not inside a UTF-8 character
  if (end < text.size()) text = text.substr(0, end) + "...";
  const char* kind = "a date or time";
  if (node.is_string()) kind = "a string";
  if (node.is_integer()) kind = "an integer";
  if (const auto number = node.value_exact<double>()) text = value_text(*number), kind = "a float";
  if (node.is_boolean()) kind = "a boolean";
  if (node.is_array()) kind = "a list";
  if (node.is_table()) kind = "a table";
  return fmt::format("{} is {}", text, kind);
}

bool takes_any_text(Type type) {
  return type == Type::text || type == Type::word || type == Type::duration;
}

std::string expected_text(Type type) {
  switch (type) {
    case Type::boolean: return "true or false";
    case Type::integer: return "an integer";
    case Type::number: return "a number";
    case Type::text:
    case Type::word:
    case Type::duration: return "a string";
    case Type::pair: return "a list of two numbers";
    case Type::texts: return "a list of strings";
    case Type::mapping: return "a table of strings";
  }
  return {};
}

std::optional<double> number_of(const toml::node& node) {
  if (const auto integer = node.value_exact<std::int64_t>()) return double(*integer);
  return node.value_exact<double>();
}

/// Reads a file and overrides into one Job and collects what is wrong.
class Reader {
 public:
  explicit Reader(const std::string& file) { parsed_.job.file = file; }
  void read_file(std::string_view text);
  void read_override(const std::string& text);
  Parsed finish();

 private:
  [[nodiscard]] std::string place(const toml::source_region& at) const;
  void report(const toml::source_region& at, std::string text);
  void report_syntax_error(const toml::parse_error& error);
  void read_section(const std::string& section, const toml::table& table);
  void read_setting(const Key& key, const toml::node& node);
  std::optional<Value> convert(const Key& key, const toml::node& node);
  std::optional<Value> convert_list(const Key& key, const toml::array& list);
  std::optional<Value> convert_mapping(const Key& key, const toml::table& table);
  bool is_allowed(const Key& key, const Value& value, const toml::node& node);
  void settle_alternatives();
  void complete();

  Parsed parsed_;
  std::string override_;  // "--set key.path" while one is read
};

std::string Reader::place(const toml::source_region& at) const {
  if (!override_.empty()) return override_;
  return fmt::format("{}:{}:{}", parsed_.job.file, at.begin.line, at.begin.column);
}

void Reader::report(const toml::source_region& at, std::string text) {
  parsed_.problems.push_back({place(at), std::move(text)});
}

void Reader::report_syntax_error(const toml::parse_error& error) {
  for (const Key& key : schema()) parsed_.unreadable.emplace(key.path);
  std::string reason(error.description());
  if (reason.starts_with("Encountered")) reason[0] = 'e';
  constexpr std::string_view preamble = "Error while parsing ";
  if (reason.starts_with(preamble)) reason = reason.substr(preamble.size());
  const bool is_second = reason.find("cannot redefine") != std::string::npos;
  report(error.source(), fmt::format("not valid TOML: {} ({}; nothing after it was read)", reason,
                                     is_second ? "keep one of the two" : "correct it"));
}

void Reader::read_file(std::string_view text) {
  toml::table root;
  try {
    root = toml::parse(text, parsed_.job.file);
  } catch (const toml::parse_error& error) {
    report_syntax_error(error);
    return;
  }
  const std::vector<std::string> sections = section_names();
  for (const auto& [key, node] : root) {
    const std::string name(key.str());
    const bool is_section = std::ranges::find(sections, name) != sections.end();
    if (is_section && node.is_table()) {
      read_section(name, *node.as_table());
    } else if (is_section) {
      report(key.source(),
             fmt::format("{} = {}; expected a section (write [{}])", name, found_text(node), name));
    } else if (node.is_table()) {
      report(key.source(), unknown_section_text(name));
    } else {
      report(key.source(), no_section_text(name));
    }
  }
}

void Reader::read_section(const std::string& section, const toml::table& table) {
  parsed_.job.places[section] = place(table.source());
  if (section == "lora") parsed_.job.lora.emplace();  // present = LoRA, even where every key has its default
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    const Key* known = find_key(fmt::format("{}.{}", section, name));
    if (known != nullptr) {
      read_setting(*known, node);
    } else {
      report(key.source(), unknown_key_text(section, name));
    }
  }
}

void Reader::read_override(const std::string& text) {
  const std::size_t equals = text.find('=');
  const std::string path = text.substr(0, equals);
  override_ = "--set " + path;
  const std::size_t dot = path.find('.');
  if (equals == std::string::npos || dot == std::string::npos) {
    report({}, "expected --set section.key=value");
    return;
  }
  std::string raw = text.substr(equals + 1);
  toml::table holder;
  try {
    holder = toml::parse("value = " + raw);
  } catch (const toml::parse_error&) {
    holder = {};
  }
  if (holder.size() != 1) holder = toml::table{{"value", raw}};

  constexpr std::string_view columns_path = "data.columns";
  const bool is_column = path.starts_with(std::string(columns_path) + ".");
  const Key* key = find_key(is_column ? columns_path : std::string_view(path));
  if (key == nullptr) {
    report({}, unknown_key_text(path.substr(0, dot), path.substr(dot + 1)));
    return;
  }
  const bool takes_text = is_column || takes_any_text(key->type);
  if (takes_text && !holder["value"].is_string()) holder.insert_or_assign("value", raw);
  const toml::node& node = *holder.get("value");
  parsed_.job.places.try_emplace(path.substr(0, dot), override_);
  if (!is_column) return read_setting(*key, node);
  auto columns = parsed_.job.data.columns;
  columns[path.substr(columns_path.size() + 1)] = node.value_or(raw);
  key->set(parsed_.job, columns);
  parsed_.job.places[std::string(key->path)] = override_;
}

void Reader::read_setting(const Key& key, const toml::node& node) {
  const std::string path(key.path);
  const std::optional<Value> value = convert(key, node);
  if (!value || !is_allowed(key, *value, node)) {
    parsed_.unreadable.insert(path);
    return;
  }
  key.set(parsed_.job, *value);
  parsed_.job.places[path] = place(node.source());
  parsed_.unreadable.erase(path);  // an override of a value that could not be read
}

std::optional<Value> Reader::convert(const Key& key, const toml::node& node) {
  std::optional<Value> value;
  switch (key.type) {
    case Type::boolean: value = node.value_exact<bool>(); break;
    case Type::integer: value = node.value_exact<std::int64_t>(); break;
    case Type::number: value = number_of(node); break;
    case Type::text:
    case Type::word:
    case Type::duration: value = node.value_exact<std::string>(); break;
    case Type::pair:
    case Type::texts:
      if (node.is_array()) return convert_list(key, *node.as_array());
      break;
    case Type::mapping:
      if (node.is_table()) return convert_mapping(key, *node.as_table());
      break;
  }
  if (!value) {
    report(node.source(),
           fmt::format("{} = {}; expected {}", key.path, found_text(node), expected_text(key.type)));
  }
  return value;
}

std::optional<Value> Reader::convert_list(const Key& key, const toml::array& list) {
  std::vector<std::string> texts;
  std::vector<double> numbers;
  const bool wants_text = key.type == Type::texts;
  if (!wants_text && list.size() != 2) {
    report(list.source(), fmt::format("{} has {} values; expected two numbers", key.path, list.size()));
    return {};
  }
  for (const toml::node& node : list) {
    const auto text = node.value_exact<std::string>();
    const auto number = number_of(node);
    if (wants_text ? !text : !number) {
      report(node.source(), fmt::format("{}[{}] = {}; expected {}", key.path, texts.size() + numbers.size(),
                                        found_text(node), wants_text ? "a string" : "a number"));
      return {};
    }
    if (wants_text) texts.push_back(*text);
    if (!wants_text) numbers.push_back(*number);
  }
  if (wants_text) return texts;
  return numbers;
}

std::optional<Value> Reader::convert_mapping(const Key& key, const toml::table& table) {
  std::map<std::string, std::string> mapping;
  for (const auto& [name, node] : table) {
    const auto text = node.value_exact<std::string>();
    if (!text) {
      report(node.source(),
             fmt::format("{}.{} = {}; expected a string", key.path, name.str(), found_text(node)));
      return {};
    }
    mapping[std::string(name.str())] = *text;
  }
  return mapping;
}

bool Reader::is_allowed(const Key& key, const Value& value, const toml::node& node) {
  std::vector<double> numbers;
  if (const auto* integer = std::get_if<std::int64_t>(&value)) numbers = {double(*integer)};
  if (const auto* number = std::get_if<double>(&value)) numbers = {*number};
  if (const auto* pair = std::get_if<std::vector<double>>(&value)) numbers = *pair;
  const bool is_finite = std::ranges::all_of(numbers, [](double number) { return std::isfinite(number); });
  const bool within =
      std::ranges::all_of(numbers, [&](double number) { return key.bounds.contains(number); });
  if (!within) {
    const std::string bounds = is_finite ? key.bounds.text() : Interval{}.text();
    report(node.source(), fmt::format("{} = {} must be {}", key.path, value_text(value), bounds));
    return false;
  }
  const auto* text = std::get_if<std::string>(&value);
  if (text == nullptr || key.type == Type::text) return true;
  if (std::ranges::find(key.words, *text) != key.words.end()) return true;
  if (key.type == Type::duration && parse_duration(*text)) return true;
  report(node.source(), unknown_word_text(key, *text));
  return false;
}

/// Of a key and the one that it replaces only one may be given, but an override beats the file.
void Reader::settle_alternatives() {
  auto& places = parsed_.job.places;
  for (const Key& key : schema()) {
    const std::string path(key.path), other(key.instead_of);
    if (other.empty() || !places.contains(path) || !places.contains(other)) continue;
    const bool key_is_override = places[path].starts_with("--set ");
    const bool other_is_override = places[other].starts_with("--set ");
    if (key_is_override == other_is_override) {
      const std::string text = fmt::format("{} and {} are both given (leave one out)", path, other);
      parsed_.problems.push_back({places[path], text});
      continue;
    }
    const Key& loser = key_is_override ? *find_key(other) : key;
    loser.set(parsed_.job, default_value(loser));
    places.erase(std::string(loser.path));
  }
}

/// Defaults that another key decides.
void Reader::complete() {
  Job& job = parsed_.job;
  const bool has_scale = job.places.contains("data.loss_scale");
  if (job.objective.kind == ObjectiveKind::dpo && !has_scale) job.data.loss_scale = "last_round";
}

Parsed Reader::finish() {
  settle_alternatives();
  complete();
  sort_by_place(parsed_.problems);
  return std::move(parsed_);
}

}  // namespace

Parsed parse_job(std::string_view text, const std::string& file, std::span<const std::string> overrides) {
  Reader reader(file);
  reader.read_file(text);
  for (const std::string& override_text : overrides) reader.read_override(override_text);
  return reader.finish();
}

}  // namespace moebius::job
