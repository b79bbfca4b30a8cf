#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace moebius::data {

/// The alphabet of byte-level BPE (GPT-2): each byte has one printable character. Printable bytes of Latin-1
/// stand for themselves, the other 68, in order, for U+0100 and on; so a space is "Ġ" and a newline "Ċ".

/// The character of a byte, in UTF-8.
[[nodiscard]] std::string letter_of(unsigned char byte);

/// The bytes that `token` spells; nothing where it has a character outside the alphabet.
[[nodiscard]] std::optional<std::string> bytes_spelled_by(std::string_view token);

}  // namespace moebius::data
