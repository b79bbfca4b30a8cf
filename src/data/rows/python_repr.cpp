#include "data/rows/python_repr.h"

#include <cstdint>
#include <fmt/format.h>
#include <string_view>

#include "data/rows/json_dump.h"
#include "data/tokenizer/unicode.h"

namespace moebius::data {
namespace {

/// Bytes of the character that begins at the front of valid UTF-8.
std::size_t length_of_first(std::string_view text) {
  const auto byte = static_cast<unsigned char>(text.front());
  if (byte < 0x80) return 1;
  return byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

std::string escaped(char32_t code) {
  const auto number = std::uint32_t(code);
  if (number < 0x100) return fmt::format("\\x{:02x}", number);
  return number < 0x10000 ? fmt::format("\\u{:04x}", number) : fmt::format("\\U{:08x}", number);
}

void write_text(std::string_view text, std::string& out) {
  const bool is_double =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = is_double ? '"' : '\'';
  out += quote;
  while (!text.empty()) {
    const std::size_t length = length_of_first(text);
    const char letter = text.front();
    if (letter == '\\' || letter == quote) {
      out += {'\\', letter};
    } else if (letter == '\n') {
      out += "\\n";
    } else if (letter == '\r') {
      out += "\\r";
    } else if (letter == '\t') {
      out += "\\t";
    } else if (const char32_t code = first_code_point(text); is_printable(code)) {
      out += text.substr(0, length);
    } else {
      out += escaped(code);
    }
    text.remove_prefix(length);
  }
  out += quote;
}

void write(const Json& value, std::string& out) {
  if (value.is_null()) {
    out += "None";
  } else if (const bool* flag = value.as<bool>()) {
    out += *flag ? "True" : "False";
  } else if (value.text() != nullptr) {
    write_text(*value.text(), out);
  } else if (const Json::Array* items = value.array()) {
    out += '[';
    for (const Json& item : *items) {
      if (&item != items->data()) out += ", ";
      write(item, out);
    }
    out += ']';
  } else if (const Json::Object* members = value.object()) {
    out += '{';
    for (const auto& [key, member] : *members) {
      if (&key != &members->front().first) out += ", ";
      write_text(key, out);
      out += ": ";
      write(member, out);
    }
    out += '}';
  } else {
    out += json_dump(value);  // a number
  }
}

}  // namespace

std::string python_repr(const Json& value) {
  std::string out;
  write(value, out);
  return out;
}

std::string python_str(const Json& value) {
  return value.text() != nullptr ? *value.text() : python_repr(value);
}

}  // namespace moebius::data
