#include "data/rows/python_literal.h"

#include <charconv>
#include <cstdint>
#include <cstdlib>

#include "data/rows/json_dump.h"

namespace moebius::data {
namespace {

// Letters behind a backslash, and what they stand for.
constexpr std::string_view kEscapes = "abfnrtv\\'\"";
constexpr std::string_view kEscaped = "\a\b\f\n\r\t\v\\'\"";

constexpr int kMaxDepth = 256;

struct NotALiteral {};  // thrown and caught in this file

void append_utf8(std::uint32_t code, std::string& out) {
  if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) throw NotALiteral{};
  if (code < 0x80) {
    out += char(code);
  } else if (code < 0x800) {
    out += {char(0xc0 | code >> 6), char(0x80 | (code & 0x3f))};
  } else if (code < 0x10000) {
    out += {char(0xe0 | code >> 12), char(0x80 | (code >> 6 & 0x3f)), char(0x80 | (code & 0x3f))};
  } else {
    out += {char(0xf0 | code >> 18), char(0x80 | (code >> 12 & 0x3f)), char(0x80 | (code >> 6 & 0x3f)),
            char(0x80 | (code & 0x3f))};
  }
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  Json whole() {
    Json value = read(0);
    skip_space();
    if (at_ != text_.size()) throw NotALiteral{};
    return value;
  }

 private:
  Json read(int depth) {
    if (depth > kMaxDepth) throw NotALiteral{};
    skip_space();
    if (take("[")) return Json(items("]", depth));
    if (take("(")) return parenthesised(depth);
    if (take("{")) return braces(depth);
    if (is_string_start()) return Json(strings());
    if (word("None")) return {};
    if (word("True")) return Json(true);
    if (word("False")) return Json(false);
    return Json(Json::Number{number()});
  }

  Json::Array items(std::string_view closing, int depth) {
    Json::Array values;
    while (skip_space(), !take(closing)) {
      values.push_back(read(depth + 1));
      skip_space();
      if (take(",")) continue;
      expect(closing);
      break;
    }
    return values;
  }

  /// "(x)" is x, "(x,)" and "(x, y)" are tuples.
  Json parenthesised(int depth) {
    skip_space();
    if (take(")")) return Json(Json::Array{});
    Json first = read(depth + 1);
    skip_space();
    if (take(")")) return first;
    expect(",");
    Json::Array rest = items(")", depth);
    rest.insert(rest.begin(), std::move(first));
    return Json(std::move(rest));
  }

  Json braces(int depth) {
    Json::Object members;
    skip_space();
    if (take("}")) return Json(std::move(members));
    Json key = read(depth + 1);
    skip_space();
    if (!take(":")) return set_of(std::move(key), depth);
    while (true) {
      set_member(members, key_text(key), read(depth + 1));
      skip_space();
      if (take("}")) break;
      expect(",");
      skip_space();
      if (take("}")) break;
      key = read(depth + 1);
      skip_space();
      expect(":");
    }
    return Json(std::move(members));
  }

  Json set_of(Json first, int depth) {
    skip_space();
    Json::Array values;
    if (take(",")) {
      values = items("}", depth);
    } else {
      expect("}");
    }
    values.insert(values.begin(), std::move(first));
    return Json(std::move(values));
  }

  static std::string key_text(const Json& key) {
    if (key.text() != nullptr) return *key.text();
    if (key.array() != nullptr || key.object() != nullptr) throw NotALiteral{};
    return json_dump(key);
  }

  [[nodiscard]] bool is_string_start() const {
    const std::size_t quote = text_.substr(at_, 3).find_first_of("'\"");
    if (quote == std::string_view::npos) return false;
    return text_.substr(at_, quote).find_first_not_of("rRuU") == std::string_view::npos;
  }

  /// Neighbouring strings are one.
  std::string strings() {
    std::string value;
    do {
      one_string(value);
      skip_space();
    } while (is_string_start());
    return value;
  }

  void one_string(std::string& out) {
    bool raw = false;
    while (text_[at_] != '\'' && text_[at_] != '"') raw = (text_[at_++] | 0x20) == 'r' || raw;
    const std::string_view single = text_.substr(at_, 1);
    const std::string_view triple = text_.substr(at_, 3);
    const bool is_long = triple.size() == 3 && triple[1] == triple[0] && triple[2] == triple[0];
    const std::string_view quote = is_long ? triple : single;
    at_ += quote.size();
    while (!take(quote)) {
      if (at_ >= text_.size() || (text_[at_] == '\n' && !is_long)) throw NotALiteral{};
      if (text_[at_] != '\\') {
        out += text_[at_++];
      } else if (raw) {
        out += text_[at_++];
        if (at_ < text_.size()) out += text_[at_++];
      } else {
        escape(out);
      }
    }
  }

  void escape(std::string& out) {
    if (at_ + 1 >= text_.size()) throw NotALiteral{};
    const char letter = text_[at_ + 1];
    at_ += 2;
    if (const auto known = kEscapes.find(letter); known != std::string_view::npos) {
      out += kEscaped[known];
    } else if (letter == 'x' || letter == 'u' || letter == 'U') {
      append_utf8(code(letter == 'x' ? 2 : letter == 'u' ? 4 : 8, 16), out);
    } else if (letter >= '0' && letter <= '7') {
      --at_;
      std::size_t digits = 1;
      while (digits < 3 && at_ + digits < text_.size() && text_[at_ + digits] >= '0' &&
             text_[at_ + digits] <= '7') {
        ++digits;
      }
      append_utf8(code(digits, 8), out);
    } else if (letter == 'N') {
      throw NotALiteral{};  // names of characters are not known here
    } else if (letter != '\n') {
      out += {'\\', letter};  // an unknown escape stays as it is
    }
  }

  std::uint32_t code(std::size_t digits, int base) {
    const std::string_view field = text_.substr(at_, digits);
    std::uint32_t value = 0;
    const auto end = std::from_chars(field.data(), field.data() + field.size(), value, base);
    if (field.size() != digits || end.ptr != field.data() + digits) throw NotALiteral{};
    at_ += digits;
    return value;
  }

  /// The number as Python would print it.
  std::string number() {
    std::string digits;
    if (take("-"))
      digits = "-";
    else
      take("+");
    skip_space();
    while (at_ < text_.size()) {
      const char letter = text_[at_];
      const bool sign_of_exponent = (letter == '-' || letter == '+') && !digits.empty() &&
                                    (digits.back() == 'e' || digits.back() == 'E');
      const bool part = (letter >= '0' && letter <= '9') || letter == '.' || letter == 'e' || letter == 'E';
      if (!part && letter != '_' && !sign_of_exponent) break;
      if (letter != '_') digits += letter;
      ++at_;
    }
    if (is_json_number(digits) && digits.find_first_of(".eE") == std::string::npos) {
      return digits == "-0" ? "0" : digits;
    }
    char* end = nullptr;  // ".5" and "1." are floats too
    const double value = std::strtod(digits.c_str(), &end);
    const bool is_float = digits.find_first_of(".eE") != std::string::npos;
    if (!is_float || end == digits.c_str() || *end != '\0') throw NotALiteral{};
    return python_float(value);
  }

  bool word(std::string_view name) { return take(name); }
  bool take(std::string_view token) {
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }
  void expect(std::string_view token) {
    if (!take(token)) throw NotALiteral{};
  }
  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos)
      ++at_;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

std::optional<Json> python_literal(std::string_view text) {
  try {
    return Reader(text).whole();
  } catch (const NotALiteral&) {
    return std::nullopt;
  }
}

}  // namespace moebius::data
