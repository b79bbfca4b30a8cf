#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/// Pipeline schedules as values: for every stage the list of what it computes, in order. Training and the
/// simulator (simulate.h) execute the same lists.
///
/// The layers of a model are cut into stages x chunks parts in a row, the virtual stages: virtual stage v is
/// chunk v / stages of stage v % stages. Activations go from each virtual stage to the next, gradients to the
/// one before. A message is implied by the instruction that makes it and the one that needs it:
///
///   forward m      needs the forward of m on the virtual stage before
///   backward m     needs the backward (or backward_input) of m on the virtual stage behind
namespace moebius::parallel {

enum class Work : std::uint8_t {
  forward,          // of one micro batch through one chunk; on the last virtual stage with the loss
  backward,         // gradients of inputs and weights
  backward_input,   // gradients of inputs; what the weights' need is kept
  backward_weight,  // the gradients of weights that backward_input left
};
inline constexpr int kWorkCount = 4;

struct Instruction {
  Work work = Work::forward;
  std::int64_t micro_batch = 0, chunk = 0;
  friend bool operator==(const Instruction&, const Instruction&) = default;
};

struct PipelineShape {
  std::int64_t stages = 1, chunks = 1, micro_batches = 1;

  [[nodiscard]] std::int64_t virtual_stages() const { return stages * chunks; }
  [[nodiscard]] std::int64_t virtual_stage(std::int64_t stage, std::int64_t chunk) const {
    return chunk * stages + stage;
  }
};

enum class ScheduleKind : std::uint8_t {
  /// Each stage forwards as many micro batches as there are stages from it to the end, then takes backward
  /// and forward in turns (PipeDream-Flush; Megatron-LM, arXiv 2104.04473, 2.2.1).
  one_f_one_b,
  /// The same over virtual stages, in groups of as many micro batches as there are stages (2.2.2 there).
  /// Micro batches are a multiple of the stages.
  interleaved,
  /// Backward in two parts: gradients of inputs as soon as they can be had, those of weights where the stage
  /// would wait; a stage keeps no more micro batches than the first one of 1F1B (ZB-H1, arXiv 2401.10241).
  /// One chunk a stage.
  zero_bubble,
};

using StageSchedule = std::vector<Instruction>;

struct PipelineSchedule {
  PipelineShape shape;
  std::vector<StageSchedule> stages;  // [shape.stages]
};

/// Throws std::logic_error for a shape that the kind does not allow.
[[nodiscard]] PipelineSchedule make_schedule(ScheduleKind kind, const PipelineShape& shape);
/// Forward alone, micro batch by micro batch: what an evaluation runs.
[[nodiscard]] PipelineSchedule forward_schedule(const PipelineShape& shape);

/// A stage and what it computes.
struct Placed {
  std::int64_t stage = 0;
  Instruction instruction;
};
/// The instruction on another virtual stage whose result this one waits for; nothing where it starts from
/// tokens or from the loss. Work::backward stands for either form of backward that gives input gradients.
[[nodiscard]] std::optional<Placed> source_of(const PipelineShape& shape, const Placed& placed);

/// "F0 F1 B0 F2 B1 B2", with chunks "F0.0 F0.1"; I and W are backward_input and backward_weight.
[[nodiscard]] std::string to_text(const Instruction& instruction, std::int64_t chunks);
[[nodiscard]] std::string to_text(const StageSchedule& schedule, std::int64_t chunks);

/// The most forwards whose backward is not complete, and the most backward_inputs without their
/// backward_weight, that a stage holds at any time.
struct StageLoad {
  std::int64_t in_flight = 0, pending = 0;
};
[[nodiscard]] StageLoad load_of(const StageSchedule& schedule);

}  // namespace moebius::parallel
