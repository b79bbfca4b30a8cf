#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moebius::data {

struct Context;

/// Which parts of a conversation are trained, unless a message says otherwise.
enum class Strategy : std::uint8_t {
  every_answer,  // "default": all responses
  last_round,    // the response to the last question
  all            // every token
};

/// data.loss_scale: a strategy, and the named scales that weigh what it trains. Of those only
/// ignore_empty_think is built: an empty <think></think> at the front of an answer has weight 0.
struct LossScale {
  Strategy strategy = Strategy::every_answer;
  bool ignore_empty_think = false;
};

/// "default", "last_round", "all", "ignore_empty_think", "last_round+ignore_empty_think", ... Throws
/// UsageError naming a scale that is not built.
[[nodiscard]] LossScale parse_loss_scale(std::string_view name);

/// A text of one weight; encoded apart from its neighbours, so its extent decides about tokens too.
struct Piece {
  std::string text;
  double weight = 0;
};

/// The contexts, weighed, with neighbours of equal weight joined.
[[nodiscard]] std::vector<Piece> weigh(const LossScale& scale, const std::vector<Context>& contexts);

}  // namespace moebius::data
