#include "base/stopwatch.h"
#include "kernels/update/elementwise.h"
#include "tensor/arena.h"
#include "tensor/phase_clock.h"
#include "tensor/transfer.h"
#include "tests/support/catch.h"
#include "tests/support/device_tensors.h"

using namespace moebius;

TEST_CASE("the parts of a device's step add up to it, however many marks there are", "[tensor][phases]") {
  kernels::Device gpu(0);
  Arena<Space::device> arena("test");
  const auto large = arena.make<float>(std::int64_t{1} << 24), small = arena.make<float>(1 << 10);
  PhaseClock<Space::device> clock;
  Queue<Space::device> queue = gpu.queue();
  queue.clock = &clock;
  kernels::fill(large, 0.0f, queue);
  wait(queue);

  const int marks = GENERATE(1, 20, 3000);  // 3000: events are used again within the step
  for (int step = 0; step < 3; ++step) {
    const Stopwatch watch;
    clock.begin(queue);
    for (int i = 0; i < marks; ++i) {
      mark(Part::attention, Pass::forward, queue);
      kernels::fill(large, 1.0f, queue);
      const PartScope scope(Part::exchange, queue);
      kernels::fill(small, 1.0f, queue);
    }
    mark(Part::optimizer, Pass::update, queue);
    clock.end(queue);
    wait(queue);
    const double whole = watch.seconds();
    const PhaseTimes& times = clock.times();
    CHECK(times.at(Part::attention, Pass::forward) > 0);
    CHECK(times.at(Part::exchange, Pass::forward) > 0);
    CHECK(times.of(Part::attention) > times.of(Part::exchange));  // 64 MiB against 4 KiB
    CHECK(times.of(Part::experts) == 0);
    CHECK(times.total() <= whole);
    // The device waits at the start for the host's first call, and the host at the end for the device.
    if (marks == 3000) CHECK(times.total() > 0.95 * whole);
  }
}
