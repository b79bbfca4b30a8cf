#include <utf8proc.h>

#include "data/tokenizer/byte_alphabet.h"
#include "data/tokenizer/unicode.h"
#include "tests/support/catch.h"

using namespace moebius::data;

namespace {

std::string utf8(char32_t code_point) {
  std::array<utf8proc_uint8_t, 4> bytes{};
  const auto length = utf8proc_encode_char(utf8proc_int32_t(code_point), bytes.data());
  return {reinterpret_cast<const char*>(bytes.data()), std::size_t(length)};
}

}  // namespace

TEST_CASE("the byte alphabet is one letter for each byte", "[data][tokenizer]") {
  CHECK(letter_of(' ') == "Ġ");
  CHECK(letter_of('\n') == "Ċ");
  CHECK(letter_of('a') == "a");
  CHECK(letter_of(0xAD) == "Ń");
  CHECK(letter_of(0xFF) == "ÿ");
  for (int byte = 0; byte < 256; ++byte) {
    CHECK(bytes_spelled_by(letter_of(static_cast<unsigned char>(byte))) == std::string(1, char(byte)));
  }
  CHECK(bytes_spelled_by("Ġthe") == " the");
  CHECK_FALSE(bytes_spelled_by("日本").has_value());
  CHECK_FALSE(bytes_spelled_by("a b").has_value());
  CHECK_FALSE(bytes_spelled_by("ń").has_value());  // U+0144, just behind the alphabet
}

TEST_CASE("each maximal invalid sequence becomes one U+FFFD", "[data][tokenizer]") {
  // The example of Unicode 15, table 3-8, and its neighbours.
  CHECK(with_invalid_replaced("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64") ==
        "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd");
  CHECK(with_invalid_replaced("\xED\xA0\x80") == "\uFFFD\uFFFD\uFFFD");  // a surrogate
  CHECK(with_invalid_replaced("\xF4\x90\x80\x80") == "\uFFFD\uFFFD\uFFFD\uFFFD");
  CHECK(with_invalid_replaced("\xC0\xAF\xE0\x80\xBF") == "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD");
  CHECK(with_invalid_replaced("ok é 日 😀\xF0\x9F\x98") == "ok é 日 😀\uFFFD");
}

TEST_CASE("text that is taken for NFC at a glance is", "[data][tokenizer]") {
  for (char32_t code_point = 1; code_point < 0x110000; ++code_point) {
    if (0xD800 <= code_point && code_point <= 0xDFFF) continue;
    const std::string letter = utf8(code_point);
    if (!is_plainly_nfc(letter)) continue;
    const auto* property = utf8proc_get_property(utf8proc_int32_t(code_point));
    if (to_nfc(letter) != letter || property->combining_class != 0)
      FAIL("U+" << std::hex << std::uint32_t(code_point));
    // Nor does it compose with a letter before it.
    for (const std::string before : {"e", "\u0915", "\u1100", "\uac00", "\u304b"}) {
      if (to_nfc(before + letter) != before + letter)
        FAIL(before << " U+" << std::hex << std::uint32_t(code_point));
    }
  }
  CHECK(is_plainly_nfc("plain, caf\u00e9, 你好。 カナ \uac00 \u2014 😀"));
  CHECK_FALSE(is_plainly_nfc("e\u0301"));
}

TEST_CASE("NFC orders and composes", "[data][tokenizer]") {
  CHECK(to_nfc("e\u0301\u0323") == "\u1eb9\u0301");
  CHECK(to_nfc("\u212b") == "\u00c5");
  CHECK(to_nfc("\u1112\u1161\u11ab") == "\ud55c");
  CHECK(to_nfc(std::string("a\0b", 3)) == std::string("a\0b", 3));
}

TEST_CASE("spaces and words at the ends of text", "[data][tokenizer]") {
  CHECK(trailing_space("a \u3000\n") == 5);
  CHECK(trailing_space(" \t") == 2);
  CHECK(leading_space("\u2003 a ") == 4);
  CHECK(leading_space("a") == 0);
  CHECK(leading_space("") == 0);
  CHECK_FALSE(is_space(U'\u200b'));
  CHECK(first_code_point("日a") == U'日');
  CHECK(last_code_point("a😀") == U'😀');
  for (const char32_t letter : {U'a', U'é', U'_', U'9', U'日', U'\u0301', U'\u24b6', U'\u200d'})
    CHECK(is_word(letter));
  for (const char32_t other : {U' ', U'-', U'²', U'😀', U'。'}) CHECK_FALSE(is_word(other));
}
