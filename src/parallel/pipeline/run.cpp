#include "parallel/pipeline/run.h"

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "tensor/platform.h"

namespace moebius::parallel {
namespace {

bool gives_input_gradient(Work work) {
  return work == Work::backward || work == Work::backward_input;
}

/// Buffers of one size that are taken and given back in any order. One that is given back while its message
/// is on its way is taken last, after a wait for it.
template <class T, Space S>
class Buffers {
 public:
  Buffers(std::int64_t count, std::int64_t elements, Arena<S>& arena) {
    for (std::int64_t i = 0; i < count; ++i) free_.push_back({arena.template make<T>(elements), {}});
  }

  [[nodiscard]] View<T, 1, S> take(Queue<S> queue) {
    if (free_.empty()) throw std::logic_error("a pipeline schedule needs more buffers than it was given");
    Returned taken = std::move(free_.front());
    free_.pop_front();
    taken.sending.wait(queue);
    return taken.buffer;
  }
  void give_back(View<T, 1, S> buffer, Pending<S> sending = {}) {
    free_.push_back({buffer, std::move(sending)});
  }
  void wait(Queue<S> queue) {
    for (Returned& one : free_) one.sending.wait(queue);
  }

 private:
  struct Returned {
    View<T, 1, S> buffer;
    Pending<S> sending;
  };
  std::deque<Returned> free_;  // the one whose message was started first in front
};

template <class T, Space S>
class Stage {
 public:
  Stage(const PipelineSchedule& schedule, StageWork<T, S>& work, const StagePlace<S>& place)
      : schedule_(schedule),
        stage_(place.exchange.mesh().index(Axis::pipeline)),
        list_(schedule.stages[std::size_t(stage_)]),
        work_(work),
        place_(place),
        incoming_(list_.size()),
        inputs_(needed().inputs, longest(), place.buffers),
        gradients_(needed().gradients, longest(), place.buffers) {}

  void run() {
    for (std::size_t i = 0; i < list_.size(); ++i) {
      receive(i);
      if (i + 1 < list_.size()) receive(i + 1);
      execute(i);
    }
    for (auto& [key, sending] : results_) sending.wait(place_.queue);
    gradients_.wait(place_.queue);
  }

 private:
  /// A message that was asked for.
  struct Incoming {
    View<T, 1, S> buffer;
    Pending<S> pending;
  };
  using Key = std::pair<std::int64_t, std::int64_t>;  // micro batch, chunk
  [[nodiscard]] static Key key_of(const Instruction& instruction) {
    return {instruction.micro_batch, instruction.chunk};
  }

  [[nodiscard]] MessageBuffers needed() const { return message_buffers(schedule_, stage_); }
  [[nodiscard]] std::int64_t longest() const {
    std::int64_t most = 0;
    for (std::int64_t m = 0; m < schedule_.shape.micro_batches; ++m) {
      const auto [rows, width] = work_.shape_of(m);
      most = std::max(most, rows * width);
    }
    return most;
  }
  /// The virtual stage that is `step` further than that of the instruction; nothing at the ends.
  [[nodiscard]] std::optional<std::int64_t> neighbour(const Instruction& instruction, int step) const {
    const std::int64_t there = schedule_.shape.virtual_stage(stage_, instruction.chunk) + step;
    const bool exists = there >= 0 && there < schedule_.shape.virtual_stages();
    return exists ? std::optional(there % schedule_.shape.stages) : std::nullopt;
  }
  [[nodiscard]] View<T, 2, S> stream(View<T, 1, S> buffer, const Instruction& instruction) const {
    return {buffer.data, work_.shape_of(instruction.micro_batch)};
  }

  /// Asks for what instruction `i` needs from another stage, once.
  void receive(std::size_t i) {
    const Instruction& instruction = list_[i];
    const auto source = source_of(schedule_.shape, {stage_, instruction});
    if (!source || incoming_[i]) return;
    const bool is_input = instruction.work == Work::forward;
    const View<T, 1, S> buffer = (is_input ? inputs_ : gradients_).take(place_.queue);
    incoming_[i].emplace(Incoming{
        buffer, start(is_input, {.from = source->stage, .received = stream(buffer, instruction).flat()})});
  }

  [[nodiscard]] Pending<S> start(bool is_stream, Messages<T, S> messages) {
    messages.lane = is_stream ? Lane::first : Lane::second;
    const Call call{Axis::pipeline, is_stream ? "stream to the next stage" : "gradient to the stage before"};
    return place_.exchange.template start_messages<T>(call, messages, place_.queue);
  }

  /// What was asked for, when it is there.
  [[nodiscard]] View<T, 1, S> arrived(std::size_t i) {
    if (!incoming_[i]) return {};
    const bool is_input = list_[i].work == Work::forward;
    mark(Part::exchange, is_input ? Pass::forward : Pass::backward, place_.queue);
    incoming_[i]->pending.wait(place_.queue);
    return incoming_[i]->buffer;
  }

  void execute(std::size_t i) {
    const Instruction& instruction = list_[i];
    if (instruction.work == Work::backward_weight) return work_.backward_weight(instruction);
    gives_input_gradient(instruction.work) ? backward(i, instruction) : forward(i, instruction);
  }

  void forward(std::size_t i, const Instruction& instruction) {
    if (is_forward_only_) keep_few_results();
    const View<T, 1, S> buffer = arrived(i);
    const View<T, 2, S> input = buffer.data == nullptr ? View<T, 2, S>{} : stream(buffer, instruction);
    const View<T, 2, S> result = work_.forward(instruction, input);
    if (const auto to = neighbour(instruction, 1))
      results_.emplace_back(key_of(instruction), start(true, {.to = *to, .sent = result.flat()}));
    if (buffer.data == nullptr) return;
    if (is_forward_only_) {
      inputs_.give_back(buffer);
    } else {
      input_of_.emplace(key_of(instruction), buffer);
    }
  }

  void backward(std::size_t i, const Instruction& instruction) {
    const auto before = neighbour(instruction, -1);
    View<T, 1, S> buffer = arrived(i);
    if (buffer.data == nullptr && before) buffer = gradients_.take(place_.queue);
    const bool has_buffer = buffer.data != nullptr;
    const View<T, 2, S> gradient = has_buffer ? stream(buffer, instruction) : View<T, 2, S>{};
    wait_for_result(key_of(instruction));
    work_.backward(instruction, gradient);
    if (before) {
      gradients_.give_back(buffer, start(false, {.to = *before, .sent = gradient.flat()}));
    } else if (has_buffer) {
      gradients_.give_back(buffer);
    }
    if (const auto input = input_of_.find(key_of(instruction)); input != input_of_.end()) {
      inputs_.give_back(input->second);
      input_of_.erase(input);
    }
  }

  /// The other side has it: it has sent the gradient. What is waited for here is that MPI says so.
  void wait_for_result(const Key& key) {
    const auto found = std::ranges::find(results_, key, [](const auto& result) { return result.first; });
    if (found == results_.end()) return;
    found->second.wait(place_.queue);
    results_.erase(found);
  }
  void keep_few_results() {
    while (std::int64_t(results_.size()) >= place_.results_kept) {
      results_.front().second.wait(place_.queue);
      results_.pop_front();
    }
  }

  const PipelineSchedule& schedule_;
  std::int64_t stage_;
  const StageSchedule& list_;
  StageWork<T, S>& work_;
  StagePlace<S> place_;
  std::vector<std::optional<Incoming>> incoming_;  // by instruction
  Buffers<T, S> inputs_, gradients_;
  std::map<Key, View<T, 1, S>> input_of_;           // of what is in flight
  std::deque<std::pair<Key, Pending<S>>> results_;  // of forward, on their way
  bool is_forward_only_ = std::ranges::all_of(
      list_, [](const Instruction& instruction) { return instruction.work == Work::forward; });
};

}  // namespace

MessageBuffers message_buffers(const PipelineSchedule& schedule, std::int64_t stage) {
  if (schedule.shape.virtual_stages() == 1) return {};
  const StageSchedule& list = schedule.stages[std::size_t(stage)];
  const bool goes_back = std::ranges::any_of(
      list, [](const Instruction& instruction) { return instruction.work != Work::forward; });
  if (!goes_back) return {.inputs = 2};
  return {.inputs = load_of(list).in_flight + 1, .gradients = 4};
}

template <class T, Space S>
void run_stage(const PipelineSchedule& schedule, StageWork<T, S>& work, const StagePlace<S>& place) {
  const ArenaScope scope(place.buffers);
  Stage<T, S>(schedule, work, place).run();
}

#define INSTANTIATE(S)                                                                          \
  template void run_stage(const PipelineSchedule&, StageWork<float, S>&, const StagePlace<S>&); \
  template void run_stage(const PipelineSchedule&, StageWork<bf16, S>&, const StagePlace<S>&);
MOEBIUS_EACH_SPACE(INSTANTIATE)
#undef INSTANTIATE

}  // namespace moebius::parallel
