#include "job/write.h"

#include <cmath>
#include <fmt/format.h>
#include <sstream>

#include "base/text.h"
#include "job/toml.h"

namespace moebius::job {
namespace {

std::string quoted(const std::string& text) {
  std::ostringstream stream;
  stream << toml::toml_formatter{toml::value<std::string>(text), toml::format_flags::allow_unicode_strings};
  return stream.str();
}

struct Writer {
  std::string operator()(std::monostate) const { return "(not given)"; }
  std::string operator()(bool flag) const { return flag ? "true" : "false"; }
  std::string operator()(std::int64_t number) const { return fmt::format("{}", number); }
  std::string operator()(double number) const {
    std::string digits = fmt::format("{}", number);
    const bool is_integer = digits.find_first_of(".en") == std::string::npos;  // n: inf, nan
    return is_integer ? digits + ".0" : digits;
  }
  std::string operator()(const std::string& text) const { return quoted(text); }
  template <class T>
  std::string operator()(const std::vector<T>& list) const {
    std::vector<std::string> items;
    items.reserve(list.size());
    for (const T& item : list) items.push_back((*this)(item));
    return fmt::format("[{}]", join(items));
  }
  std::string operator()(const std::map<std::string, std::string>& table) const {
    std::vector<std::string> items;
    items.reserve(table.size());
    for (const auto& [key, value] : table) items.push_back(quoted(key) + " = " + quoted(value));
    return fmt::format("{{{}}}", join(items));
  }
};

bool is_replaced(const Job& job, const Key& key) {
  for (const Key& other : schema()) {
    const bool counts =
        other.instead_of == key.path && !std::holds_alternative<std::monostate>(other.get(job));
    if (counts) return true;
  }
  return false;
}

}  // namespace

std::string write_job(const Job& job) {
  std::string text;
  std::string_view section;
  for (const Key& key : schema()) {
    const Value value = key.get(job);
    if (std::holds_alternative<std::monostate>(value) || is_replaced(job, key)) continue;
    if (key.section() != section) {
      section = key.section();
      text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", section);
    }
    text += fmt::format("{} = {}\n", key.name(), value_text(value));
  }
  return text;
}

std::string value_text(const Value& value) {
  return std::visit(Writer{}, value);
}

std::string setting_text(const Job& job, const std::string& key) {
  return fmt::format("{} = {}", key, value_text(find_key(key)->get(job)));
}

}  // namespace moebius::job
