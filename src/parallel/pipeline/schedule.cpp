#include "parallel/pipeline/schedule.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <stdexcept>

#include "base/text.h"

namespace moebius::parallel {
namespace {

StageSchedule one_f_one_b(const PipelineShape& shape, std::int64_t stage) {
  const std::int64_t warm_up = std::min(shape.micro_batches, shape.stages - stage - 1);
  StageSchedule list;
  for (std::int64_t m = 0; m < warm_up; ++m) list.push_back({Work::forward, m});
  for (std::int64_t m = 0; m < shape.micro_batches; ++m) {
    if (m + warm_up < shape.micro_batches) list.push_back({Work::forward, m + warm_up});
    list.push_back({Work::backward, m});
  }
  return list;
}

/// Instruction `k` of those of one kind: groups of as many micro batches as there are stages go through one
/// chunk after the other, backward through the chunks in reverse.
Instruction interleaved_step(const PipelineShape& shape, Work work, std::int64_t k) {
  const std::int64_t in_group = k % shape.virtual_stages(), group = k / shape.virtual_stages();
  const std::int64_t chunk = in_group / shape.stages;
  return {work, group * shape.stages + in_group % shape.stages,
          work == Work::forward ? chunk : shape.chunks - 1 - chunk};
}

StageSchedule interleaved(const PipelineShape& shape, std::int64_t stage) {
  const std::int64_t all = shape.micro_batches * shape.chunks;
  const std::int64_t warm_up =
      std::min(all, 2 * (shape.stages - stage - 1) + (shape.chunks - 1) * shape.stages);
  StageSchedule list;
  for (std::int64_t k = 0; k < warm_up; ++k) list.push_back(interleaved_step(shape, Work::forward, k));
  for (std::int64_t k = 0; k < all; ++k) {
    if (k + warm_up < all) list.push_back(interleaved_step(shape, Work::forward, k + warm_up));
    list.push_back(interleaved_step(shape, Work::backward, k));
  }
  return list;
}

/// ZB-H1: stage s works on the weights s micro batches later than on the inputs, so that all stages hold as
/// many micro batches. The first stage, whose input gradients nobody waits for, has no reason to split.
StageSchedule zero_bubble(const PipelineShape& shape, std::int64_t stage) {
  const std::int64_t warm_up = std::min(shape.micro_batches, shape.stages - stage);
  StageSchedule list;
  for (std::int64_t m = 0; m < warm_up; ++m) list.push_back({Work::forward, m});
  for (std::int64_t m = 0; m < shape.micro_batches; ++m) {
    list.push_back({stage == 0 ? Work::backward : Work::backward_input, m});
    if (stage > 0 && m >= stage) list.push_back({Work::backward_weight, m - stage});
    if (m + warm_up < shape.micro_batches) list.push_back({Work::forward, m + warm_up});
  }
  if (stage == 0) return list;
  for (std::int64_t m = std::max<std::int64_t>(0, shape.micro_batches - stage); m < shape.micro_batches; ++m)
    list.push_back({Work::backward_weight, m});
  return list;
}

StageSchedule stage_schedule(ScheduleKind kind, const PipelineShape& shape, std::int64_t stage) {
  switch (kind) {
    case ScheduleKind::one_f_one_b: return one_f_one_b(shape, stage);
    case ScheduleKind::interleaved: return interleaved(shape, stage);
    case ScheduleKind::zero_bubble: return zero_bubble(shape, stage);
  }
  throw std::logic_error("a pipeline schedule of no kind");
}

void expect(bool fits, const char* what) {
  if (!fits) throw std::logic_error(std::string("a pipeline schedule ") + what);
}

}  // namespace

PipelineSchedule make_schedule(ScheduleKind kind, const PipelineShape& shape) {
  expect(shape.stages > 0 && shape.chunks > 0 && shape.micro_batches >= 0, "of an impossible shape");
  expect(kind == ScheduleKind::interleaved || shape.chunks == 1, "of one chunk a stage, asked for several");
  expect(kind != ScheduleKind::interleaved || shape.micro_batches % shape.stages == 0,
         "that is interleaved takes a multiple of the stages as micro batches");
  PipelineSchedule schedule{shape, {}};
  for (std::int64_t stage = 0; stage < shape.stages; ++stage)
    schedule.stages.push_back(stage_schedule(kind, shape, stage));
  return schedule;
}

PipelineSchedule forward_schedule(const PipelineShape& shape) {
  PipelineSchedule schedule{shape, {}};
  StageSchedule list;
  for (std::int64_t m = 0; m < shape.micro_batches; ++m) {
    for (std::int64_t chunk = 0; chunk < shape.chunks; ++chunk) list.push_back({Work::forward, m, chunk});
  }
  schedule.stages.assign(std::size_t(shape.stages), list);
  return schedule;
}

std::optional<Placed> source_of(const PipelineShape& shape, const Placed& placed) {
  const auto [work, micro_batch, chunk] = placed.instruction;
  if (work == Work::backward_weight) return std::nullopt;
  const bool is_forward = work == Work::forward;
  const std::int64_t from = shape.virtual_stage(placed.stage, chunk) + (is_forward ? -1 : 1);
  if (from < 0 || from >= shape.virtual_stages()) return std::nullopt;
  return Placed{from % shape.stages,
                {is_forward ? Work::forward : Work::backward, micro_batch, from / shape.stages}};
}

std::string to_text(const Instruction& instruction, std::int64_t chunks) {
  constexpr std::array<char, kWorkCount> letters{'F', 'B', 'I', 'W'};
  const char letter = letters[std::size_t(instruction.work)];
  if (chunks == 1) return fmt::format("{}{}", letter, instruction.micro_batch);
  return fmt::format("{}{}.{}", letter, instruction.micro_batch, instruction.chunk);
}

std::string to_text(const StageSchedule& schedule, std::int64_t chunks) {
  std::vector<std::string> texts;
  texts.reserve(schedule.size());
  for (const Instruction& instruction : schedule) texts.push_back(to_text(instruction, chunks));
  return join(texts, " ");
}

StageLoad load_of(const StageSchedule& schedule) {
  StageLoad now, most;
  for (const Instruction& instruction : schedule) {
    now.in_flight += instruction.work == Work::forward ? 1 : 0;
    now.pending += instruction.work == Work::backward_input ? 1 : 0;
    most = {std::max(most.in_flight, now.in_flight), std::max(most.pending, now.pending)};
    const bool completes = instruction.work == Work::backward || instruction.work == Work::backward_weight;
    now.in_flight -= completes ? 1 : 0;
    now.pending -= instruction.work == Work::backward_weight ? 1 : 0;
  }
  return most;
}

}  // namespace moebius::parallel
