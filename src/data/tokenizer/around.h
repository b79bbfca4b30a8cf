#pragma once
#include <string>

namespace moebius::data {

/// Tokens, as text, that a tokenizer puts around any text unless asked not to: "<s>" and nothing, mostly.
struct TextAround {
  std::string before, after;
};

}  // namespace moebius::data
