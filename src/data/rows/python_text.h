#pragma once
#include <string>
#include <string_view>

namespace moebius::data {

/// Bytes of the white space at the front of UTF-8 `text`, by Python's str.isspace (Unicode; also \s of re).
[[nodiscard]] std::size_t space_in_front(std::string_view text);

/// `text` without white space at both ends: Python's str.strip().
[[nodiscard]] std::string_view strip(std::string_view text);

/// Every `from` in `text` replaced by `to`, left to right, what was put in not looked at again.
void replace_all(std::string& text, std::string_view from, std::string_view to);

}  // namespace moebius::data
