#include "models/config_reader.h"

#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace moebius::models {

using Json = nlohmann::json;

struct ConfigReader::Node {
  Json value;
};

namespace {

constexpr std::size_t kLongestValue = 60;  // of a value in a message

std::string value_text(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > kLongestValue) text = text.substr(0, kLongestValue) + "...";
  return text;
}

std::shared_ptr<const Json> parse(std::string_view text, const std::string& file) {
  try {
    auto value = std::make_shared<const Json>(Json::parse(text));
    if (!value->is_object()) throw InputError(file + ": not a JSON object, which a config.json is");
    return value;
  } catch (const Json::parse_error& error) {
    throw InputError(
        fmt::format("{}: not JSON, at byte {} of {}: {}", file, error.byte, text.size(), error.what()));
  } catch (const Json::exception& error) {
    throw InputError(fmt::format("{}: {}", file, error.what()));
  }
}

/// Nothing where the value is no whole number within the bounds.
std::optional<std::int64_t> whole(const Json& value, ConfigReader::Bounds bounds) {
  if (!value.is_number_integer()) return {};
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > std::uint64_t(bounds.most)) return {};
  const auto number = value.get<std::int64_t>();
  if (number < bounds.least || number > bounds.most) return {};
  return number;
}

std::string bounds_text(ConfigReader::Bounds bounds) {
  return fmt::format("must be a whole number from {} to {}", bounds.least, bounds.most);
}

}  // namespace

ConfigReader::ConfigReader(std::string_view text, std::string file)
    : node_(std::make_shared<const Node>(Node{*parse(text, file)})), file_(std::move(file)) {}

ConfigReader::ConfigReader(std::shared_ptr<const Node> node, std::string file, std::string prefix)
    : node_(std::move(node)), file_(std::move(file)), prefix_(std::move(prefix)) {}

bool ConfigReader::has(const std::string& key) const {
  const auto found = node_->value.find(key);
  return found != node_->value.end() && !found->is_null();
}

void ConfigReader::refuse(const std::string& key, const std::string& reason) const {
  if (!has(key)) throw InputError(fmt::format("{}: {}{}: {}", file_, prefix_, key, reason));
  throw InputError(
      fmt::format("{}: {}{} = {} {}", file_, prefix_, key, value_text(node_->value.at(key)), reason));
}

std::int64_t ConfigReader::integer(const std::vector<std::string>& keys, Bounds bounds) const {
  std::optional<std::int64_t> value;
  std::string from;
  for (const std::string& key : keys) {
    if (!has(key)) continue;
    const std::int64_t given = integer_or(key, 0, bounds);
    if (value && *value != given) refuse(key, fmt::format("contradicts {} = {}", from, *value));
    value = given, from = key;
  }
  if (!value) refuse(keys.front(), fmt::format("the key is missing; it {}", bounds_text(bounds)));
  return *value;
}

std::int64_t ConfigReader::integer_or(const std::string& key, std::int64_t fallback, Bounds bounds) const {
  if (!has(key)) return fallback;
  const auto value = whole(node_->value.at(key), bounds);
  if (!value) refuse(key, bounds_text(bounds));
  return *value;
}

double ConfigReader::real_or(const std::string& key, double fallback, RealBounds bounds) const {
  return has(key) ? real(key, bounds) : fallback;
}

double ConfigReader::real(const std::string& key, RealBounds bounds) const {
  const std::string wanted = fmt::format("must be a number from {} to {}", bounds.least, bounds.most);
  if (!has(key)) refuse(key, "the key is missing; it " + wanted);
  const Json& value = node_->value.at(key);
  if (!value.is_number()) refuse(key, wanted);
  const auto number = value.get<double>();
  if (!(number >= bounds.least && number <= bounds.most)) refuse(key, wanted);
  return number;
}

bool ConfigReader::flag_or(const std::string& key, bool fallback) const {
  if (!has(key)) return fallback;
  const Json& value = node_->value.at(key);
  if (!value.is_boolean()) refuse(key, "must be true or false");
  return value.get<bool>();
}

std::optional<std::string> ConfigReader::word(const std::string& key) const {
  if (!has(key)) return {};
  const Json& value = node_->value.at(key);
  if (!value.is_string()) refuse(key, "must be a string");
  return value.get<std::string>();
}

std::vector<std::int64_t> ConfigReader::integers(const std::string& key, Bounds bounds) const {
  std::vector<std::int64_t> numbers;
  if (!has(key)) return numbers;
  const Json& value = node_->value.at(key);
  const Json list = value.is_array() ? value : Json::array({value});
  for (const Json& entry : list) {
    const auto number = whole(entry, bounds);
    if (!number)
      refuse(key, "must be whole numbers, each from " + fmt::format("{} to {}", bounds.least, bounds.most));
    numbers.push_back(*number);
  }
  return numbers;
}

std::vector<std::string> ConfigReader::words(const std::string& key) const {
  std::vector<std::string> words;
  if (!has(key)) return words;
  const Json& value = node_->value.at(key);
  const Json list = value.is_array() ? value : Json::array({value});
  for (const Json& entry : list) {
    if (!entry.is_string()) refuse(key, "must be a list of strings");
    words.push_back(entry.get<std::string>());
  }
  return words;
}

ConfigReader ConfigReader::part(const std::string& key) const {
  if (!has(key)) refuse(key, "the key is missing");
  const Json& value = node_->value.at(key);
  if (!value.is_object()) refuse(key, "must be an object");
  return {std::make_shared<const Node>(Node{value}), file_, prefix_ + key + "."};
}

}  // namespace moebius::models
