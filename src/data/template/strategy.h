#pragma once
#include <cstdint>

namespace moebius::data {

/// Which parts of a conversation are trained, unless a message says otherwise.
enum class Strategy : std::uint8_t {
  every_answer,  // "default": all responses
  last_round,    // the response to the last question
  all            // every token
};

}  // namespace moebius::data
