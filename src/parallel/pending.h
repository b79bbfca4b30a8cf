#pragma once
#include <memory>
#include <utility>

#include "tensor/phase_clock.h"

namespace moebius::parallel {

/// An exchange that was started and goes on while the rank computes: Exchange::start_messages,
/// start_all_to_all and others. Its buffers are left alone until `wait`, which every object sees before it
/// ends, but for an error on its way.
template <Space S>
class [[nodiscard]] Pending {
 public:
  /// What a back end keeps of it.
  class Work {
   public:
    Work() = default;
    Work(const Work&) = delete;
    Work& operator=(const Work&) = delete;
    virtual ~Work() = default;
    virtual void wait(Queue<S> queue) = 0;
  };

  Pending() = default;  // nothing to wait for
  explicit Pending(std::unique_ptr<Work> work) : work_(std::move(work)) {}

  /// In host memory: returns when it is done. On a device: what is queued from here on comes after it. Again:
  /// nothing.
  void wait(Queue<S> queue) {
    const auto work = std::exchange(work_, nullptr);
    if (work == nullptr) return;
    const PartScope scope(Part::exchange, queue);
    work->wait(queue);
  }

 private:
  std::unique_ptr<Work> work_;
};

}  // namespace moebius::parallel
