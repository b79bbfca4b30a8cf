#include "data/tokenizer/unicode.h"

#include <cstdlib>
#include <memory>
#include <new>
#include <simdjson.h>
#include <utf8proc.h>

namespace moebius::data {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

unsigned char byte_at(std::string_view text, std::size_t index) {
  return static_cast<unsigned char>(text[index]);
}

bool is_continuation(unsigned char byte) {
  return (byte & 0xC0) == 0x80;
}

/// What must follow a lead byte: how many bytes, and the bounds of the first of them (the later ones may be
/// any continuation byte). Unicode 15, table 3-7.
struct Sequence {
  int continuations = -1;  // -1: no lead byte
  unsigned char low = 0x80, high = 0xBF;
};

Sequence sequence_of(unsigned char lead) {
  if (lead < 0x80) return {.continuations = 0};
  if (lead < 0xC2) return {};
  if (lead < 0xE0) return {.continuations = 1};
  if (lead == 0xE0) return {.continuations = 2, .low = 0xA0};
  if (lead == 0xED) return {.continuations = 2, .high = 0x9F};  // no surrogates
  if (lead < 0xF0) return {.continuations = 2};
  if (lead == 0xF0) return {.continuations = 3, .low = 0x90};
  if (lead < 0xF4) return {.continuations = 3};
  if (lead == 0xF4) return {.continuations = 3, .high = 0x8F};
  return {};
}

struct Prefix {
  std::size_t length = 1;
  bool whole = false;
};

/// The code point at `begin`, or as many of its bytes as are right.
Prefix prefix_at(std::string_view text, std::size_t begin) {
  const Sequence sequence = sequence_of(byte_at(text, begin));
  if (sequence.continuations < 0) return {};
  Prefix prefix{.length = 1};
  for (int i = 0; i < sequence.continuations; ++i, ++prefix.length) {
    if (begin + prefix.length >= text.size()) return prefix;
    const unsigned char byte = byte_at(text, begin + prefix.length);
    const bool fits = i == 0 ? sequence.low <= byte && byte <= sequence.high : is_continuation(byte);
    if (!fits) return prefix;
  }
  prefix.whole = true;
  return prefix;
}

char32_t decode_valid(std::string_view text, std::size_t begin) {
  utf8proc_int32_t code_point = 0;
  utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + begin,
                   utf8proc_ssize_t(text.size() - begin), &code_point);
  return char32_t(code_point);
}

std::size_t start_of_last(std::string_view text) {
  std::size_t begin = text.size() - 1;
  while (begin > 0 && is_continuation(byte_at(text, begin))) --begin;
  return begin;
}

/// The common blocks of characters that NFC neither changes nor moves nor composes with one before them
/// (NFC_Quick_Check = Yes, combining class 0); tests/data/tokenizer_unicode_test.cpp checks each.
struct Block {
  char32_t first, last;
};
constexpr Block kInert[] = {
    {0x0000, 0x02FF},    // Latin
    {0x0400, 0x0482},    // Cyrillic
    {0x2002, 0x205E},    // spaces, dashes, quotes, joiners
    {0x2500, 0x27BF},    // boxes, shapes, dingbats
    {0x3001, 0x3029},    // CJK punctuation
    {0x3041, 0x3098},    // kana before the voicing marks
    {0x309B, 0x30FF},    // kana behind them
    {0x4E00, 0x9FFF},    // CJK
    {0xAC00, 0xD7A3},    // Hangul syllables
    {0xFE0F, 0xFE0F},    // emoji style
    {0xFF01, 0xFF5E},    // full width
    {0x1F300, 0x1FAFF},  // emoji
};

bool is_inert(char32_t code_point) {
  for (const Block& block : kInert) {
    if (code_point <= block.last) return block.first <= code_point;
  }
  return false;
}

}  // namespace

bool is_valid_utf8(std::string_view text) {
  return simdjson::validate_utf8(text.data(), text.size());
}

std::string with_invalid_replaced(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const Prefix prefix = prefix_at(text, i);
    result += prefix.whole ? text.substr(i, prefix.length) : kReplacement;
    i += prefix.length;
  }
  return result;
}

std::string to_nfc(std::string_view text) {
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t length =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), utf8proc_ssize_t(text.size()),
                   &mapped, utf8proc_option_t(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  if (length < 0) throw std::bad_alloc();  // the only other failure, invalid UTF-8, is excluded
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(mapped, &std::free);
  return {reinterpret_cast<const char*>(mapped), std::size_t(length)};
}

bool is_plainly_nfc(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const unsigned char byte = byte_at(text, i);
    if (byte < 0xCC) {  // ASCII, and two-byte sequences below U+0300
      i += byte < 0x80 ? 1 : 2;
      continue;
    }
    if (!is_inert(decode_valid(text, i))) return false;
    i += std::size_t(sequence_of(byte).continuations) + 1;
  }
  return true;
}

char32_t first_code_point(std::string_view text) {
  return decode_valid(text, 0);
}

char32_t last_code_point(std::string_view text) {
  return decode_valid(text, start_of_last(text));
}

bool is_space(char32_t code_point) {
  switch (code_point) {
    case 0x20:
    case 0x85:
    case 0xA0:
    case 0x1680:
    case 0x2028:
    case 0x2029:
    case 0x202F:
    case 0x205F:
    case 0x3000: return true;
    default:
      return (0x09 <= code_point && code_point <= 0x0D) || (0x2000 <= code_point && code_point <= 0x200A);
  }
}

bool is_word(char32_t code_point) {
  switch (utf8proc_category(utf8proc_int32_t(code_point))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    // Alphabetic symbols: circled and squared Latin letters.
    case UTF8PROC_CATEGORY_SO:
      return (0x24B6 <= code_point && code_point <= 0x24E9) ||
             (0x1F130 <= code_point && code_point <= 0x1F149) ||
             (0x1F150 <= code_point && code_point <= 0x1F169) ||
             (0x1F170 <= code_point && code_point <= 0x1F189);
    default: return code_point == 0x200C || code_point == 0x200D;  // joiners
  }
}

bool is_printable(char32_t code_point) {
  switch (utf8proc_category(utf8proc_int32_t(code_point))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return false;
    case UTF8PROC_CATEGORY_ZS: return code_point == ' ';
    default: return true;
  }
}

std::size_t trailing_space(std::string_view text) {
  std::size_t kept = text.size();
  while (kept > 0) {
    const std::size_t begin = start_of_last(text.substr(0, kept));
    if (!is_space(decode_valid(text, begin))) break;
    kept = begin;
  }
  return text.size() - kept;
}

std::size_t leading_space(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size() && is_space(decode_valid(text, length))) {
    length += std::size_t(sequence_of(byte_at(text, length)).continuations) + 1;
  }
  return length;
}

}  // namespace moebius::data
