#pragma once
#include <string_view>

namespace moebius::data {

/// The characters that Unicode 15, 15.1 and 16 added to the category L, M, N, P or S, as the inside of a
/// PCRE2 set; empty for any other category. Hugging Face tokenizers knows them, the PCRE2 of Debian 12 and
/// Ubuntu 24.04 (Unicode 14) does not, and without them an emoji of 2022 would be part of the word behind it.
[[nodiscard]] std::string_view added_since_unicode_14(char category);

}  // namespace moebius::data
