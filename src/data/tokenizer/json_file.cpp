#include "data/tokenizer/json_file.h"

#include <fmt/format.h>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace moebius::data {
namespace {

std::string_view kind_of(simdjson::dom::element value) {
  switch (value.type()) {
    case simdjson::dom::element_type::ARRAY: return "an array";
    case simdjson::dom::element_type::OBJECT: return "an object";
    case simdjson::dom::element_type::STRING: return "a string";
    case simdjson::dom::element_type::BOOL: return "a bool";
    case simdjson::dom::element_type::NULL_VALUE: return "null";
    default: return "a number";
  }
}

/// nlohmann's reason, without the "[json.exception.parse_error.101] " before it.
std::string_view without_code(std::string_view reason) {
  const std::size_t end = reason.find("] ");
  return end == std::string_view::npos ? reason : reason.substr(end + 2);
}

/// simdjson does not say where it gave up; nlohmann does, and a refused file may take the time.
[[noreturn]] void refuse_syntax(const std::string& path, std::string_view otherwise) {
  std::ifstream stream(path, std::ios::binary);
  try {
    const auto parsed = nlohmann::json::parse(stream);
  } catch (const nlohmann::json::parse_error& error) {
    throw InputError(fmt::format("{}: byte {}: not JSON: {}", path, error.byte, without_code(error.what())));
  } catch (const nlohmann::json::exception& error) {  // a number beyond all bounds
    throw InputError(fmt::format("{}: not JSON: {}", path, without_code(error.what())));
  }
  throw InputError(fmt::format("{}: not JSON: {}", path, otherwise));
}

}  // namespace

std::string JsonValue::place() const {
  return fmt::format("{}: {}", file_, key_.empty() ? "top level" : key_);
}

void JsonValue::refuse(std::string_view problem) const {
  throw InputError(fmt::format("{}: {}", place(), problem));
}

std::optional<JsonValue> JsonValue::find(std::string_view key) const {
  simdjson::dom::element member;
  if (object().at_key(key).get(member) != simdjson::SUCCESS || member.is_null()) return std::nullopt;
  return JsonValue(member, file_, key_.empty() ? std::string(key) : fmt::format("{}.{}", key_, key));
}

JsonValue JsonValue::at(std::string_view key) const {
  auto member = find(key);
  if (!member) refuse(fmt::format("'{}' is missing", key));
  return *std::move(member);
}

std::vector<JsonValue> JsonValue::items() const {
  std::vector<JsonValue> result;
  for (const simdjson::dom::element item : array()) {
    result.emplace_back(item, file_, fmt::format("{}[{}]", key_, result.size()));
  }
  return result;
}

std::string_view JsonValue::text() const {
  std::string_view result;
  if (value_.get(result) != simdjson::SUCCESS)
    refuse(fmt::format("must be a string, is {}", kind_of(value_)));
  return result;
}

std::int64_t JsonValue::integer() const {
  std::int64_t result = 0;
  if (value_.get(result) == simdjson::SUCCESS) return result;
  refuse(fmt::format("must be a whole number, is {}", simdjson::minify(value_)));
}

double JsonValue::number() const {
  double result = 0;
  if (value_.get(result) != simdjson::SUCCESS)
    refuse(fmt::format("must be a number, is {}", kind_of(value_)));
  return result;
}

bool JsonValue::flag() const {
  bool result = false;
  if (value_.get(result) != simdjson::SUCCESS) {
    refuse(fmt::format("must be true or false, is {}", kind_of(value_)));
  }
  return result;
}

bool JsonValue::flag_or(std::string_view key, bool otherwise) const {
  const auto member = find(key);
  return member ? member->flag() : otherwise;
}

simdjson::dom::object JsonValue::object() const {
  simdjson::dom::object result;
  if (value_.get(result) != simdjson::SUCCESS) {
    refuse(fmt::format("must be an object, is {}", kind_of(value_)));
  }
  return result;
}

simdjson::dom::array JsonValue::array() const {
  simdjson::dom::array result;
  if (value_.get(result) != simdjson::SUCCESS)
    refuse(fmt::format("must be an array, is {}", kind_of(value_)));
  return result;
}

JsonFile::JsonFile(const std::filesystem::path& path) : path_(path.string()) {
  simdjson::padded_string bytes;
  if (simdjson::padded_string::load(path_).get(bytes) != simdjson::SUCCESS) {
    throw InputError(fmt::format("{}: cannot be read", path_));
  }
  parse(bytes);
}

JsonFile::JsonFile(std::string name, std::string_view text) : path_(std::move(name)) {
  parse(simdjson::padded_string(text));
}

void JsonFile::parse(const simdjson::padded_string& bytes) {
  const simdjson::error_code error = parser_.parse(bytes).get(root_);
  if (error != simdjson::SUCCESS) refuse_syntax(path_, simdjson::error_message(error));
}

JsonValue JsonFile::root() const {
  return {root_, path_, ""};
}

}  // namespace moebius::data
