#pragma once
#include <chrono>
#include <deque>
#include <vector>

#include "base/phases.h"
#include "tensor/queue.h"

struct CUevent_st;  // the CUDA runtime's own type, named here so that no header needs the toolkit

namespace moebius {

/// Where work is: what is queued from a mark on, up to the next.
struct Phase {
  Part part = Part::data;
  Pass pass = Pass::forward;
  friend bool operator==(const Phase&, const Phase&) = default;
};

/// Marks in the work of a queue; the seconds between them go to PhaseTimes.
template <Space S>
class Marks;

template <>
class Marks<Space::host> {
 public:
  void begin(Queue<Space::host>) { last_ = Clock::now(); }
  /// What came since the last mark was `done`.
  void set(Phase done, PhaseTimes& times, Queue<Space::host>) {
    const Clock::time_point now = Clock::now();
    times.at(done.part, done.pass) += std::chrono::duration<double>(now - last_).count();
    last_ = now;
  }
  void settle(PhaseTimes&) {}

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_;
};

/// Events on the stream: the host waits for nothing, and what it reads of them it reads while the device
/// goes on. Events are used again: there are never more than the host is ahead of the device.
template <>
class Marks<Space::device> {
 public:
  Marks() = default;
  Marks(const Marks&) = delete;
  Marks& operator=(const Marks&) = delete;
  ~Marks();

  void begin(Queue<Space::device> queue);
  void set(Phase done, PhaseTimes& times, Queue<Space::device> queue);
  /// All that is not read yet; the caller has waited for the queue.
  void settle(PhaseTimes& times);

 private:
  struct Mark {
    CUevent_st* event;
    Phase done;
  };
  [[nodiscard]] CUevent_st* record(Queue<Space::device> queue);
  void read_first(PhaseTimes& times);

  CUevent_st* last_ = nullptr;  // the mark before the first of pending_
  std::deque<Mark> pending_;
  std::vector<CUevent_st*> free_;
};

/// How long a step was in each part and pass. What is queued belongs to the part of the newest mark, so the
/// times of all parts add up to the time from begin to end. Idle between steps: marks do nothing then.
template <Space S>
class PhaseClock {
 public:
  /// Forgets the step before; goes on in Part::data of the forward pass.
  void begin(Queue<S> queue) {
    settle();
    times_ = {};
    phase_ = {};
    runs_ = true;
    marks_.begin(queue);
  }
  void enter(Phase phase, Queue<S> queue) {
    if (!runs_ || phase == phase_) return;
    marks_.set(phase_, times_, queue);
    phase_ = phase;
  }
  void end(Queue<S> queue) {
    marks_.set(phase_, times_, queue);
    runs_ = false;
  }
  [[nodiscard]] Phase phase() const { return phase_; }
  /// Of the step that has ended, when the caller has waited for the queue.
  [[nodiscard]] const PhaseTimes& times() {
    settle();
    return times_;
  }

 private:
  void settle() { marks_.settle(times_); }

  Marks<S> marks_;
  PhaseTimes times_;
  Phase phase_;
  bool runs_ = false;
};

/// What is queued from here on belongs to this part, until the next mark; the pass stays.
template <Space S>
void mark(Part part, Queue<S> queue) {
  if (queue.clock != nullptr) queue.clock->enter({part, queue.clock->phase().pass}, queue);
}
/// From here on, this pass.
template <Space S>
void mark(Part part, Pass pass, Queue<S> queue) {
  if (queue.clock != nullptr) queue.clock->enter({part, pass}, queue);
}

/// The block belongs to this part; after it, work is where it was.
template <Space S>
class [[nodiscard]] PartScope {
 public:
  PartScope(Part part, Queue<S> queue) : queue_(queue) {
    if (queue.clock == nullptr) return;
    before_ = queue.clock->phase();
    mark(part, queue);
  }
  PartScope(const PartScope&) = delete;
  PartScope& operator=(const PartScope&) = delete;
  ~PartScope() {
    if (queue_.clock != nullptr) queue_.clock->enter(before_, queue_);
  }

 private:
  Queue<S> queue_;
  Phase before_;
};

}  // namespace moebius
