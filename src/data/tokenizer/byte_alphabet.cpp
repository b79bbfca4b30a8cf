#include "data/tokenizer/byte_alphabet.h"

#include <array>
#include <cstdint>

namespace moebius::data {
namespace {

constexpr int kLetters = 256 + 68;  // characters U+0000 .. U+0143 hold the whole alphabet

constexpr bool stands_for_itself(int byte) {
  return ('!' <= byte && byte <= '~') || (0xA1 <= byte && byte <= 0xAC) || (0xAE <= byte && byte <= 0xFF);
}

struct Alphabet {
  std::array<std::int16_t, 256> letter{};     // of a byte
  std::array<std::int16_t, kLetters> byte{};  // of a character; -1 outside the alphabet
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  for (auto& byte : alphabet.byte) byte = -1;
  int next_substitute = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const int letter = stands_for_itself(byte) ? byte : next_substitute++;
    alphabet.letter[std::size_t(byte)] = std::int16_t(letter);
    alphabet.byte[std::size_t(letter)] = std::int16_t(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::string letter_of(unsigned char byte) {
  const int letter = kAlphabet.letter[byte];
  if (letter < 0x80) return std::string(1, char(letter));
  return {char(0xC0 | (letter >> 6)), char(0x80 | (letter & 0x3F))};  // all are below U+0800
}

std::optional<std::string> bytes_spelled_by(std::string_view token) {
  std::string bytes;
  bytes.reserve(token.size());
  for (std::size_t i = 0; i < token.size(); ++i) {
    const auto lead = static_cast<unsigned char>(token[i]);
    int letter = lead;
    if (lead >= 0x80) {
      const bool two_bytes = (lead & 0xE0) == 0xC0 && i + 1 < token.size();
      if (!two_bytes) return std::nullopt;
      letter = ((lead & 0x1F) << 6) | (static_cast<unsigned char>(token[++i]) & 0x3F);
    }
    if (letter >= kLetters || kAlphabet.byte[std::size_t(letter)] < 0) return std::nullopt;
    bytes += char(kAlphabet.byte[std::size_t(letter)]);
  }
  return bytes;
}

}  // namespace moebius::data
