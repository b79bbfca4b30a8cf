#include "data/rows/json_dump.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fmt/format.h>
#include <utility>

namespace moebius::data {
namespace {

void dump_text(std::string_view text, std::string& out) {
  out += '"';
  for (const char letter : text) {
    switch (letter) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\f': out += "\\f"; break;
      case '\b': out += "\\b"; break;
      default:
        if (static_cast<unsigned char>(letter) < 0x20) {
          out += fmt::format("\\u{:04x}", int(letter));
        } else {
          out += letter;
        }
    }
  }
  out += '"';
}

std::string number_text(const std::string& text) {
  const bool is_float = text.find_first_of(".eE") != std::string::npos;
  if (is_float) return python_float(std::strtod(text.c_str(), nullptr));
  return text == "-0" ? "0" : text;
}

enum class Layout : std::uint8_t { one_line, indented };

class Dumper {
 public:
  explicit Dumper(Layout layout) : layout_(layout) {}

  void dump(const Json& value) {
    if (value.is_null()) {
      out_ += "null";
    } else if (const bool* flag = value.as<bool>()) {
      out_ += *flag ? "true" : "false";
    } else if (const auto* number = value.as<Json::Number>()) {
      out_ += number_text(number->text);
    } else if (value.text() != nullptr) {
      dump_text(*value.text(), out_);
    } else if (const Json::Array* items = value.array()) {
      dump_list('[', *items, ']', [&](const Json& item) { dump(item); });
    } else {
      dump_list('{', *value.object(), '}', [&](const Json::Member& member) {
        dump_text(member.first, out_);
        out_ += ": ";
        dump(member.second);
      });
    }
  }

  std::string take() { return std::move(out_); }

 private:
  template <class Items, class DumpItem>
  void dump_list(char open, const Items& items, char close, const DumpItem& dump_item) {
    out_ += open;
    ++depth_;
    for (const auto& item : items) {
      if (&item != items.data()) out_ += layout_ == Layout::indented ? "," : ", ";
      break_line();
      dump_item(item);
    }
    --depth_;
    if (!items.empty()) break_line();
    out_ += close;
  }

  void break_line() {
    constexpr std::size_t spaces = 4;
    if (layout_ == Layout::indented) out_ += '\n' + std::string(spaces * depth_, ' ');
  }

  Layout layout_;
  std::size_t depth_ = 0;
  std::string out_;
};

std::string dumped(const Json& value, Layout layout) {
  Dumper dumper(layout);
  dumper.dump(value);
  return dumper.take();
}

}  // namespace

std::string json_dump(const Json& value) {
  return dumped(value, Layout::one_line);
}

std::string json_dump_indented(const Json& value) {
  return dumped(value, Layout::indented);
}

std::string python_float(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  std::array<char, 32> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), std::abs(value),
                                 std::chars_format::scientific);
  const std::string_view shortest(buffer.data(), std::size_t(end.ptr - buffer.data()));  // "1.25e+03"
  const std::size_t e = shortest.find('e');
  std::string digits(shortest.substr(0, e));
  if (digits.size() > 1) digits.erase(1, 1);  // the point
  const int exponent = std::atoi(shortest.data() + e + 1);
  const std::string_view sign = std::signbit(value) ? "-" : "";
  const std::string_view all = digits;
  // repr writes 1e-05 and 1e+16, but 0.0001 and 1000000000000000.0
  if (exponent < -4 || exponent >= 16) {
    return fmt::format("{}{}{}{}e{}{:02}", sign, all[0], all.size() > 1 ? "." : "", all.substr(1),
                       exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return fmt::format("{}0.{}{}", sign, std::string(std::size_t(-exponent - 1), '0'), all);
  const auto whole = std::size_t(exponent) + 1;
  if (all.size() > whole) return fmt::format("{}{}.{}", sign, all.substr(0, whole), all.substr(whole));
  return fmt::format("{}{}{}.0", sign, all, std::string(whole - all.size(), '0'));
}

}  // namespace moebius::data
