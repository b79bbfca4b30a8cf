#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moebius::data {

/// A token that is found in the text before anything else happens to it.
struct AddedToken {
  std::string content;
  std::int32_t id = 0;
  bool special = false;      // left out by decode(..., SpecialTokens::skip)
  bool normalized = false;   // looked for in normalised text, normalised itself
  bool single_word = false;  // not inside a word
  bool lstrip = false;       // takes the spaces before it along
  bool rstrip = false;       // and those behind it
};

/// Finds added tokens: the leftmost first, the longest of those that begin at one place. Immutable.
class AddedTokens {
 public:
  explicit AddedTokens(std::vector<AddedToken> tokens);

  /// A token, or text between tokens (id -1).
  struct Part {
    std::string_view text;
    std::int32_t id = -1;
  };
  /// Valid UTF-8 cut into tokens and what lies between; nothing of empty text.
  [[nodiscard]] std::vector<Part> cut(std::string_view text) const;

 private:
  [[nodiscard]] const AddedToken* longest_at(std::string_view text, std::size_t begin) const;
  std::vector<AddedToken> tokens_;  // sorted by content
  std::vector<bool> begins_token_;  // of a byte
};

}  // namespace moebius::data
