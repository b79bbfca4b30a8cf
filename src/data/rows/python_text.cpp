#include "data/rows/python_text.h"

#include <cstdint>

namespace moebius::data {
namespace {

bool is_space(std::uint32_t code) {
  if (code <= 0x20) return code == 0x20 || (code >= 0x09 && code <= 0x0d) || (code >= 0x1c && code <= 0x1f);
  if (code < 0x1680) return code == 0x85 || code == 0xa0;
  return code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 ||
         code == 0x202f || code == 0x205f || code == 0x3000;
}

/// Bytes of the white space character at the front of `text`, 0 where another one stands there. No white
/// space lies beyond U+3000, so three bytes are enough.
std::size_t space_at_front(std::string_view text) {
  const auto byte = [&](std::size_t i) { return std::uint32_t(static_cast<unsigned char>(text[i])); };
  if (text.empty()) return 0;
  if (byte(0) < 0x80) return is_space(byte(0)) ? 1 : 0;
  if ((byte(0) & 0xe0) == 0xc0 && text.size() >= 2) {
    return is_space((byte(0) & 0x1f) << 6 | (byte(1) & 0x3f)) ? 2 : 0;
  }
  if ((byte(0) & 0xf0) == 0xe0 && text.size() >= 3) {
    return is_space((byte(0) & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f)) ? 3 : 0;
  }
  return 0;
}

std::size_t space_at_back(std::string_view text) {
  std::size_t begin = text.size();
  if (begin == 0) return 0;
  --begin;
  while (begin > 0 && text.size() - begin < 4 && (static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80) {
    --begin;
  }
  const std::size_t length = text.size() - begin;
  return space_at_front(text.substr(begin)) == length ? length : 0;
}

}  // namespace

std::size_t space_in_front(std::string_view text) {
  std::size_t at = 0;
  while (const std::size_t length = space_at_front(text.substr(at))) at += length;
  return at;
}

std::string_view strip(std::string_view text) {
  text.remove_prefix(space_in_front(text));
  while (const std::size_t length = space_at_back(text)) text.remove_suffix(length);
  return text;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

}  // namespace moebius::data
