#pragma once
#include <deque>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "parallel/exchange.h"
#include "parallel/pipeline/schedule.h"
#include "tensor/arena.h"

namespace moebius::parallel {

/// What a stage computes, as run_stage asks for it. Streams are [rows of the micro batch, width].
template <class T, Space S>
class StageWork {
 public:
  StageWork() = default;
  StageWork(const StageWork&) = delete;
  StageWork& operator=(const StageWork&) = delete;
  virtual ~StageWork() = default;

  [[nodiscard]] virtual std::array<std::int64_t, 2> shape_of(std::int64_t micro_batch) const = 0;
  /// `input`: what the virtual stage before returned, empty on the first; it stays until backward has
  /// returned. Returns what goes to the next, which stays as long; on the last it is not looked at.
  [[nodiscard]] virtual View<T, 2, S> forward(const Instruction& instruction, View<T, 2, S> input) = 0;
  /// Work::backward and backward_input. `gradient`: of what forward returned, to be overwritten by that of
  /// its input. Undefined on the last virtual stage, which starts from the loss; empty where there is only
  /// one. After it (after backward_weight, where that follows) nothing of the micro batch is needed.
  virtual void backward(const Instruction& instruction, View<T, 2, S> gradient) = 0;
  virtual void backward_weight(const Instruction& instruction) = 0;
};

/// Where a stage runs. `buffers` holds the messages while it does, see message_buffers.
template <Space S>
struct StagePlace {
  Exchange<S>& exchange;
  Arena<S>& buffers;
  Queue<S> queue;
  /// With a schedule without backward: how many results of forward the work keeps.
  std::int64_t results_kept = 1;
};

/// Streams that a stage has room for besides what its work keeps.
struct MessageBuffers {
  std::int64_t inputs = 0, gradients = 0;
  [[nodiscard]] std::int64_t count() const { return inputs + gradients; }
};
/// Enough that the schedules of schedule.h never wait for room (tests/parallel/pipeline_schedule_test.cpp):
/// the inputs of all that is in flight and one ahead; of gradients one in work, one ahead and two on their
/// way.
[[nodiscard]] MessageBuffers message_buffers(const PipelineSchedule& schedule, std::int64_t stage);

/// Executes this rank's list of the schedule: its stage is its index of Axis::pipeline. Receives are started
/// one instruction ahead, sends as soon as there is something, and both go on beside the work.
template <class T, Space S>
void run_stage(const PipelineSchedule& schedule, StageWork<T, S>& work, const StagePlace<S>& place);

}  // namespace moebius::parallel
