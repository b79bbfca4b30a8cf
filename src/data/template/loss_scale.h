#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/template/contexts.h"
#include "data/template/scale.h"
#include "data/template/strategy.h"

namespace moebius::data {

/// data.loss_scale: a strategy, and the scales that weigh what it trains, one after the other: each splits
/// the pieces of the one before, and weights multiply.
struct LossScale {
  Strategy strategy = Strategy::every_answer;
  std::vector<std::shared_ptr<const Scale>> scales;

  [[nodiscard]] bool has(std::string_view name) const;
  [[nodiscard]] bool is_binary() const;
  /// Everything that decides about weights, spelled out: what a table in a file says, not its name.
  [[nodiscard]] std::string text() const;
};

/// "default", "last_round", "hermes", "last_round+hermes+ignore_empty_think", "default+weights.toml", ...: a
/// part that ends with .toml is a table of the user's own (job/scale_table.h). Throws UsageError for an
/// unknown name, InputError for a file that cannot be read.
[[nodiscard]] LossScale parse_loss_scale(std::string_view name);

/// The written conversation in weighed pieces.
[[nodiscard]] std::vector<Piece> weigh(const LossScale& scale, const Written& written);

/// The same without empty ones and with neighbours of equal weight joined.
[[nodiscard]] std::vector<Piece> join_equals(std::vector<Piece> pieces);

}  // namespace moebius::data
