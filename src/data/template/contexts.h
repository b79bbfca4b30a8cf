#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/template/template.h"
#include "data/template/thinking.h"
#include "data/template/turns.h"

namespace moebius::data {

enum class ContextKind : std::uint8_t { response, suffix, other };

/// A stretch of the written conversation that is trained, or not, as a whole.
struct Context {
  ContextKind kind = ContextKind::other;
  bool is_last_round = true;  // of responses
  Segment segment;
};

struct Writing {
  const Template& style;
  std::string system;                   // empty: none is written
  bool has_system = false;              // an empty system was given: {{SYSTEM}} in results becomes ""
  std::string response_prefix;          // of an answer that is still to come
  std::vector<std::string> stop_words;  // an answer that ends with one gets no suffix
  Purpose purpose = Purpose::training;
};

/// The conversation in the template's words. A missing question at the front is an empty one; a missing
/// answer at the end is the response prefix.
[[nodiscard]] std::vector<Context> contexts_of(std::vector<Turn> turns, const Writing& writing);

}  // namespace moebius::data
