#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "data/batch/batches.h"
#include "models/decoder/decoder.h"

namespace moebius::objectives {

using Batches = std::span<const data::MicroBatch>;  // of this data rank, the same on all stages

/// What a global batch holds on all data ranks together: what losses are divided by.
struct BatchCounts {
  std::int64_t trained = 0;         // tokens
  std::int64_t pairs = 0;           // of answers,
  std::int64_t trained_chosen = 0;  // and the trained tokens of the chosen ones
};

/// The predictions that were asked for of one micro batch, those of this context rank.
struct Predictions {
  std::vector<std::int32_t> tokens;  // [targets], rising; token of the micro batch before each
  View<const float, 1, Space::host> log_probabilities;  // [targets]
};

/// What is minimised: a sum over the global batch whose gradient in the log-probability of each target is
/// known as soon as all log-probabilities of its micro batch are. It is divided by what the global batch
/// holds from the start, so that gradients are plain sums over micro batches and ranks and do not depend on
/// the layout.
///
/// Each step `begin` comes first; then `weights` of each micro batch, on the ranks of the last stage; then
/// what was predicted is told as numbers:
///
///   measure   of each micro batch, on the last stage   -> to be summed over the context ranks
///   totals    of all of them                           -> to be summed over stages and data ranks
///   numbers   of the global batch                      -> by name, the loss first
template <Platform P>
class Objective {
 public:
  static constexpr Space kSpace = P::kSpace;
  /// One micro batch behind the last layer.
  struct Head {
    std::int64_t micro_batch = 0;  // its index among those of `begin`
    models::Decoder<P>& decoder;
    const models::HostBatch& host;
    const models::TokenBatch<kSpace>& tokens;
    View<typename P::Storage, 2, kSpace> hidden;  // [tokens / tensor, hidden]
    Arena<kSpace>& memory;                        // stays until backward is done
  };
  using Numbers = std::vector<std::pair<std::string, double>>;

  Objective() = default;
  Objective(const Objective&) = delete;
  Objective& operator=(const Objective&) = delete;
  virtual ~Objective() = default;

  /// `batches` stay where they are until the last call about them. Collective. Where nothing is trained,
  /// `counts` are not needed.
  virtual void begin(Batches batches, const BatchCounts& counts) = 0;
  /// The loss is -sum weights * log-probabilities, as far as its gradient goes: [targets]. Collective over
  /// the ranks that share the micro batch.
  [[nodiscard]] virtual View<const float, 1, kSpace> weights(const Head& head) = 0;

  virtual void measure(std::int64_t micro_batch, const Predictions& predictions,
                       std::vector<double>& measured) const = 0;
  /// As many whatever was measured.
  [[nodiscard]] virtual std::vector<double> totals(std::span<const double> measured) const = 0;
  [[nodiscard]] virtual Numbers numbers(std::span<const double> totals, const BatchCounts& counts) const = 0;
};

}  // namespace moebius::objectives
