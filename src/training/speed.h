#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "base/phases.h"
#include "plan/work.h"

namespace moebius::training {

/// How long one step took on this rank, and for what.
struct StepTimes {
  PhaseTimes parts;    // they add up to `seconds`
  double seconds = 0;  // of the host's clock
  plan::StepLoad load;
};

/// How fast the steps of a run are: the mean over those behind the first three, which warm up, or over all
/// where there are no more.
class Speed {
 public:
  static constexpr std::int64_t kWarmUp = 3;

  /// `iteration` from 1.
  void add(std::int64_t iteration, const StepTimes& step);

  [[nodiscard]] std::int64_t first() const { return first_; }  // iteration; 0: none was added
  [[nodiscard]] std::int64_t last() const { return last_; }
  [[nodiscard]] StepTimes mean() const;

 private:
  std::int64_t added_ = 0, measured_ = 0, first_ = 0, last_ = 0;
  StepTimes sum_;
};

/// What the table says besides times.
struct SpeedFacts {
  std::vector<plan::Operation> operations;  // of the mean step on this rank
  std::optional<plan::Peaks> peaks;         // of a GPU
  std::string hardware;                     // where the peaks are from: "132 SMs at 1.98 GHz"
  std::int64_t ranks = 1;
  std::string memory;  // "69.0 GiB of the GPU in use, 69.3 GiB planned"
  double seconds_to_first_step = 0;
};

/// Milliseconds a step by part, forward and backward, beside the shortest that are possible, and the speed
/// that comes of it: a table and four lines for people.
[[nodiscard]] std::string speed_text(const Speed& speed, const SpeedFacts& facts);

}  // namespace moebius::training
