#include "parallel/pipeline/simulate.h"

#include <algorithm>
#include <map>
#include <optional>
#include <stdexcept>

namespace moebius::parallel {
namespace {

bool gives_input_gradient(Work work) {
  return work == Work::backward || work == Work::backward_input;
}

/// All stages while they run.
class Simulation {
 public:
  Simulation(const PipelineSchedule& schedule, const Durations& durations, const MessageModel& messages)
      : schedule_(schedule), durations_(durations), messages_(messages) {
    timeline_.stages.resize(schedule.stages.size());
    for (const StageSchedule& list : schedule.stages) {
      places_.emplace_back(std::size_t(2 * shape().chunks * shape().micro_batches));
      for (std::size_t i = 0; i < list.size(); ++i) {
        if (list[i].work != Work::backward_weight) place_of(places_.back(), list[i]) = i;
      }
    }
  }

  [[nodiscard]] Timeline run() {
    for (bool moved = true; moved;) {
      moved = false;
      for (std::int64_t stage = 0; stage < shape().stages; ++stage) {
        while (step(stage)) moved = true;
      }
    }
    expect_all_done();
    return std::move(timeline_);
  }

 private:
  using Places = std::vector<std::optional<std::size_t>>;  // of each forward and input gradient in the list

  [[nodiscard]] const PipelineShape& shape() const { return schedule_.shape; }
  [[nodiscard]] const StageSchedule& list(std::int64_t stage) const {
    return schedule_.stages[std::size_t(stage)];
  }
  [[nodiscard]] std::optional<std::size_t>& place_of(Places& places, const Instruction& instruction) const {
    const std::int64_t half = instruction.work == Work::forward ? 0 : shape().chunks;
    return places[std::size_t((half + instruction.chunk) * shape().micro_batches + instruction.micro_batch)];
  }

  /// When instruction `index` of a stage began or ended; nothing where it has not run yet.
  [[nodiscard]] std::optional<Interval> ran(std::int64_t stage, std::size_t index) const {
    const std::vector<Interval>& done = timeline_.stages[std::size_t(stage)];
    return index < done.size() ? std::optional(done[index]) : std::nullopt;
  }

  /// When what the instruction needs from another stage is there; nothing where that has not run yet.
  [[nodiscard]] std::optional<double> arrival(const Placed& placed) {
    const auto source = source_of(shape(), placed);
    if (!source) return 0;
    const auto place = place_of(places_[std::size_t(source->stage)], source->instruction);
    const auto made = place ? ran(source->stage, *place) : std::nullopt;
    if (!made) return std::nullopt;
    return made->end + (source->stage == placed.stage ? 0 : messages_.latency);
  }

  /// When the gradient that the stage has sent `messages_.sent` messages ago was asked for.
  [[nodiscard]] std::optional<double> room(std::int64_t stage, const Instruction& instruction) {
    if (!gives_input_gradient(instruction.work)) return 0;
    const auto oldest = std::int64_t(sent_[stage].size()) - messages_.sent;
    if (oldest < 0) return 0;
    const auto [to, needed] = sent_[stage][std::size_t(oldest)];
    if (std::int64_t(needed) <= messages_.ahead) return 0;
    const auto asked = ran(to, needed - std::size_t(messages_.ahead) - 1);
    return asked ? std::optional(asked->end) : std::nullopt;
  }

  bool step(std::int64_t stage) {
    std::vector<Interval>& done = timeline_.stages[std::size_t(stage)];
    if (done.size() == list(stage).size()) return false;
    const Instruction& next = list(stage)[done.size()];
    const auto there = arrival({stage, next}), free = room(stage, next);
    if (!there || !free) return false;
    const double begin = std::max({done.empty() ? 0 : done.back().end, *there, *free});
    done.push_back({next, begin, begin + durations_(stage, next)});
    timeline_.end = std::max(timeline_.end, done.back().end);
    if (gives_input_gradient(next.work)) note_sent(stage, next);
    return true;
  }

  void note_sent(std::int64_t stage, const Instruction& instruction) {
    const std::int64_t to = shape().virtual_stage(stage, instruction.chunk) - 1;
    if (to < 0 || to % shape().stages == stage) return;
    const std::int64_t receiver = to % shape().stages;
    const auto needed = place_of(places_[std::size_t(receiver)],
                                 {Work::backward, instruction.micro_batch, to / shape().stages});
    if (needed) sent_[stage].emplace_back(receiver, *needed);
  }

  void expect_all_done() const {
    std::string waiting;
    for (std::int64_t stage = 0; stage < shape().stages; ++stage) {
      const std::size_t done = timeline_.stages[std::size_t(stage)].size();
      if (done == list(stage).size()) continue;
      waiting += " stage " + std::to_string(stage) + " at " + to_text(list(stage)[done], shape().chunks);
    }
    if (!waiting.empty()) throw std::logic_error("a pipeline schedule stands still:" + waiting);
  }

  const PipelineSchedule& schedule_;
  const Durations& durations_;
  MessageModel messages_;
  Timeline timeline_;
  std::vector<Places> places_;                                                      // by stage
  std::map<std::int64_t, std::vector<std::pair<std::int64_t, std::size_t>>> sent_;  // gradients, by stage
};

}  // namespace

double Timeline::busy(std::int64_t stage) const {
  double sum = 0;
  for (const Interval& interval : stages[std::size_t(stage)]) sum += interval.end - interval.begin;
  return sum;
}

double Timeline::bubble_share() const {
  double sum = 0;
  for (std::size_t stage = 0; stage < stages.size(); ++stage) sum += busy(std::int64_t(stage));
  return end == 0 ? 0 : 1 - sum / (end * double(stages.size()));
}

double UnitDurations::operator()(std::int64_t /*stage*/, const Instruction& instruction) const {
  const std::array<double, kWorkCount> of_work{forward, backward_input + backward_weight, backward_input,
                                               backward_weight};
  return of_work[std::size_t(instruction.work)] / double(chunks);
}

Timeline simulate(const PipelineSchedule& schedule, const Durations& durations,
                  const MessageModel& messages) {
  return Simulation(schedule, durations, messages).run();
}

}  // namespace moebius::parallel
