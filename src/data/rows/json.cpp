#include "data/rows/json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <simdjson.h>

namespace moebius::data {
namespace {

constexpr int kMaxDepth = 512;

struct NotJson {};  // thrown and caught in this file

std::string_view trimmed(std::string_view token) {
  while (!token.empty() &&
         (token.back() == ' ' || token.back() == '\n' || token.back() == '\r' || token.back() == '\t')) {
    token.remove_suffix(1);
  }
  return token;
}

Json scalar(std::string_view token) {
  if (token == "null") return {};
  if (token == "true") return Json(true);
  if (token == "false") return Json(false);
  if (!is_json_number(token)) throw NotJson{};
  return Json(Json::Number{std::string(token)});
}

template <class T>
T checked(simdjson::simdjson_result<T>&& result) {
  T value;
  if (std::move(result).get(value) != simdjson::SUCCESS) throw NotJson{};
  return value;
}

Json build(simdjson::ondemand::value value, int depth);

template <class Source>  // ondemand: a value or a whole document
Json build_array(Source& source, int depth) {
  if (depth > kMaxDepth) throw NotJson{};
  Json::Array items;
  auto array = checked(source.get_array());
  for (auto item : array) items.push_back(build(checked(std::move(item)), depth + 1));
  return Json(std::move(items));
}

template <class Source>
Json build_object(Source& source, int depth) {
  if (depth > kMaxDepth) throw NotJson{};
  Json::Object members;
  auto object = checked(source.get_object());
  for (auto item : object) {
    auto field = checked(std::move(item));
    std::string key(checked(field.unescaped_key()));
    set_member(members, std::move(key), build(field.value(), depth + 1));
  }
  return Json(std::move(members));
}

Json build(simdjson::ondemand::value value, int depth) {
  using simdjson::ondemand::json_type;
  switch (checked(value.type())) {
    case json_type::array: return build_array(value, depth);
    case json_type::object: return build_object(value, depth);
    case json_type::string: return Json(std::string(checked(value.get_string())));
    default: return scalar(trimmed(value.raw_json_token()));
  }
}

}  // namespace

const Json* Json::find(std::string_view key) const {
  return object() == nullptr ? nullptr : find_member(*object(), key);
}

Json* Json::find(std::string_view key) {
  return const_cast<Json*>(std::as_const(*this).find(key));
}

bool Json::is_empty() const {
  if (is_null()) return true;
  if (const bool* flag = as<bool>()) return !*flag;
  if (const Number* number = as<Number>()) return std::strtod(number->text.c_str(), nullptr) == 0;
  if (text() != nullptr) return text()->empty();
  return array() != nullptr ? array()->empty() : object()->empty();
}

bool operator==(const Json& a, const Json& b) {
  return a.value_ == b.value_;
}

const Json* find_member(const Json::Object& object, std::string_view key) {
  const auto found = std::find_if(object.begin(), object.end(),
                                  [&](const Json::Member& member) { return member.first == key; });
  return found == object.end() ? nullptr : &found->second;
}

void set_member(Json::Object& object, std::string key, Json value) {
  for (Json::Member& member : object) {
    if (member.first == key) {
      member.second = std::move(value);
      return;
    }
  }
  object.emplace_back(std::move(key), std::move(value));
}

std::optional<Json> take_member(Json::Object& object, std::string_view key) {
  const auto found = std::find_if(object.begin(), object.end(),
                                  [&](const Json::Member& member) { return member.first == key; });
  if (found == object.end()) return std::nullopt;
  Json value = std::move(found->second);
  object.erase(found);
  return value;
}

bool is_json_number(std::string_view text) {
  std::size_t at = 0;
  const auto digits = [&] {
    const std::size_t begin = at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
    return at - begin;
  };
  const auto take = [&](std::string_view any_of) {
    const bool there = at < text.size() && any_of.find(text[at]) != std::string_view::npos;
    at += there ? 1 : 0;
    return there;
  };
  take("-");
  const std::size_t begin = at;
  const std::size_t whole = digits();
  if (whole == 0 || (whole > 1 && text[begin] == '0')) return false;
  if (take(".") && digits() == 0) return false;
  if (take("eE")) {
    take("+-");
    if (digits() == 0) return false;
  }
  return at == text.size();
}

struct JsonParser::State {
  simdjson::ondemand::parser parser;
  std::string buffer;  // the text and the padding that simdjson reads beyond it

  Json parse(std::string_view text) {
    buffer.reserve(text.size() + 2 + simdjson::SIMDJSON_PADDING);
    buffer.assign(text);
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos) throw NotJson{};
    const bool is_scalar = text[first] != '{' && text[first] != '[';
    if (is_scalar) buffer.insert(0, 1, '[') += ']';  // on-demand parsing reads scalars only inside something
    buffer.reserve(buffer.size() + simdjson::SIMDJSON_PADDING);
    auto document = checked(parser.iterate(buffer.data(), buffer.size(), buffer.capacity()));
    Json value = buffer[is_scalar ? 0 : first] == '[' ? build_array(document, 1) : build_object(document, 1);
    // Only behind the last token there is no location.
    if (document.current_location().error() != simdjson::OUT_OF_BOUNDS) throw NotJson{};
    if (!is_scalar) return value;
    if (value.array()->size() != 1) throw NotJson{};
    return std::move(value.as<Json::Array>()->front());
  }
};

JsonParser::JsonParser() : state_(std::make_unique<State>()) {}
JsonParser::JsonParser(JsonParser&&) noexcept = default;
JsonParser& JsonParser::operator=(JsonParser&&) noexcept = default;
JsonParser::~JsonParser() = default;

std::optional<Json> JsonParser::parse(std::string_view text) {
  try {
    return state_->parse(text);
  } catch (const NotJson&) {
    return std::nullopt;
  }
}

JsonFault json_fault(std::string_view text) {
  try {
    const nlohmann::json value = nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 8: syntax error ... - what; details"
    std::string reason = error.what();
    if (const auto colon = reason.find(": "); colon != std::string::npos) reason.erase(0, colon + 2);
    return {error.byte > 0 ? error.byte - 1 : 0, reason};
  } catch (const nlohmann::json::exception& error) {
    return {0, error.what()};
  }
  return {0, "not JSON, or nested too deeply"};
}

}  // namespace moebius::data
