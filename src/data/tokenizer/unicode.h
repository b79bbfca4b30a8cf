#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace moebius::data {

[[nodiscard]] bool is_valid_utf8(std::string_view text);

/// `text` with U+FFFD for each maximal invalid sequence (Unicode 15, section 3.9, "substitution of maximal
/// subparts"; what Python's errors="replace" and Rust's from_utf8_lossy do).
[[nodiscard]] std::string with_invalid_replaced(std::string_view text);

/// Normalisation form C of valid UTF-8.
[[nodiscard]] std::string to_nfc(std::string_view text);

/// Whether `to_nfc(text) == text` is known at a glance: false only means that it has to be computed.
[[nodiscard]] bool is_plainly_nfc(std::string_view text);

/// The first and the last code point of valid, non-empty UTF-8.
[[nodiscard]] char32_t first_code_point(std::string_view text);
[[nodiscard]] char32_t last_code_point(std::string_view text);

/// The property White_Space: `\s` of Oniguruma and of Rust.
[[nodiscard]] bool is_space(char32_t code_point);
/// `\w` as Unicode's technical standard 18 has it: letters, marks, decimal digits, connectors, joiners.
[[nodiscard]] bool is_word(char32_t code_point);
/// Python's str.isprintable: neither a separator other than the space, nor control, format, private or
/// unassigned.
[[nodiscard]] bool is_printable(char32_t code_point);

/// The lengths of the spaces at the end and at the start of valid UTF-8, in bytes.
[[nodiscard]] std::size_t trailing_space(std::string_view text);
[[nodiscard]] std::size_t leading_space(std::string_view text);

}  // namespace moebius::data
