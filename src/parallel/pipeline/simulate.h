#pragma once
#include <array>
#include <functional>
#include <vector>

#include "parallel/pipeline/schedule.h"

namespace moebius::parallel {

/// When an instruction runs, in the unit of the durations.
struct Interval {
  Instruction instruction;
  double begin = 0, end = 0;
};

struct Timeline {
  std::vector<std::vector<Interval>> stages;  // in the order of the schedule
  double end = 0;                             // of the last instruction

  [[nodiscard]] double busy(std::int64_t stage) const;
  /// The share of stages x end in which stages wait.
  [[nodiscard]] double bubble_share() const;
};

/// How long an instruction takes on a stage.
using Durations = std::function<double(std::int64_t stage, const Instruction& instruction)>;

/// By kind of work for one whole stage, the same on all; a chunk takes its share of it.
struct UnitDurations {
  double forward = 1, backward_input = 1, backward_weight = 1;
  std::int64_t chunks = 1;

  [[nodiscard]] double operator()(std::int64_t stage, const Instruction& instruction) const;
};

/// How messages keep a sender. `sent` gradients that the other side has not asked for stop the stage that
/// sends them before its next backward; the other side asks when it is `ahead` instructions before the one
/// that needs them.
struct MessageModel {
  double latency = 0;
  std::int64_t ahead = 1;
  std::int64_t sent = 1 << 20;
};

/// Executes the lists: a stage goes on when its next instruction has what it needs. Throws std::logic_error
/// where no stage can go on, naming the instructions that wait.
[[nodiscard]] Timeline simulate(const PipelineSchedule& schedule, const Durations& durations,
                                const MessageModel& messages = {});

}  // namespace moebius::parallel
