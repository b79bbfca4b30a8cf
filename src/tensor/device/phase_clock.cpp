#include "tensor/phase_clock.h"

#include "tensor/device/check.h"

namespace moebius {
namespace {

constexpr std::size_t kUnread = 32;  // marks that may wait: the newest are seldom done, and asking costs

bool is_done(CUevent_st* event) {
  const cudaError_t status = cudaEventQuery(event);
  if (status == cudaErrorNotReady)
    static_cast<void>(cudaGetLastError());  // the next launch should not see it
  return status == cudaSuccess;
}

}  // namespace

Marks<Space::device>::~Marks() {
  if (last_ != nullptr) free_.push_back(last_);
  for (const Mark& mark : pending_) free_.push_back(mark.event);
  for (CUevent_st* event : free_) static_cast<void>(cudaEventDestroy(event));
}

/// Null where that fails: the device is broken then, and the next operation says so.
CUevent_st* Marks<Space::device>::record(Queue<Space::device> queue) {
  CUevent_st* event = nullptr;
  if (!free_.empty()) {
    event = free_.back();
    free_.pop_back();
  } else if (cudaEventCreate(&event) != cudaSuccess) {
    return nullptr;
  }
  if (cudaEventRecord(event, queue.stream) == cudaSuccess) return event;
  free_.push_back(event);
  return nullptr;
}

void Marks<Space::device>::begin(Queue<Space::device> queue) {
  if (last_ != nullptr) free_.push_back(last_);
  last_ = record(queue);
}

void Marks<Space::device>::set(Phase done, PhaseTimes& times, Queue<Space::device> queue) {
  if (CUevent_st* const event = record(queue)) pending_.push_back({event, done});
  // Two a mark: what is waiting shrinks when the device catches up.
  for (int i = 0; i < 2 && pending_.size() > kUnread && is_done(pending_.front().event); ++i)
    read_first(times);
}

void Marks<Space::device>::read_first(PhaseTimes& times) {
  const Mark mark = pending_.front();
  pending_.pop_front();
  float milliseconds = 0;
  if (last_ != nullptr) {
    check(cudaEventElapsedTime(&milliseconds, last_, mark.event));
    free_.push_back(last_);
  }
  times.at(mark.done.part, mark.done.pass) += double(milliseconds) / 1000;
  last_ = mark.event;
}

void Marks<Space::device>::settle(PhaseTimes& times) {
  while (!pending_.empty()) read_first(times);
}

}  // namespace moebius
