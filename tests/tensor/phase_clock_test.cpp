#include "tensor/phase_clock.h"

#include <cmath>
#include <map>
#include <string>

#include "base/stopwatch.h"
#include "tests/support/catch.h"

using namespace moebius;

namespace {

/// Something that takes time and that no compiler removes; returns how much.
double work() {
  const Stopwatch watch;
  volatile double sum = 0;
  for (int i = 1; i < 200'000; ++i) sum = sum + std::sqrt(double(i));
  return watch.seconds();
}

}  // namespace

TEST_CASE("the parts of a step add up to it, whatever is nested in what", "[tensor][phases]") {
  PhaseClock<Space::host> clock;
  const Queue<Space::host> queue{&clock};
  const Stopwatch watch;
  clock.begin(queue);
  const Stopwatch inside;
  work();
  mark(Part::attention, Pass::forward, queue);
  double of_attention = work(), of_exchange = 0;
  {
    const PartScope scope(Part::exchange, queue);
    of_exchange = work();
  }
  CHECK(clock.phase() == Phase{Part::attention, Pass::forward});
  of_attention += work();
  mark(Part::norms, Pass::backward, queue);
  mark(Part::experts, queue);  // the pass stays
  work();
  mark(Part::optimizer, Pass::update, queue);
  {
    const PartScope scope(Part::exchange, queue);
    work();
  }
  const double at_least = inside.seconds();
  clock.end(queue);
  const double whole = watch.seconds();

  const PhaseTimes& times = clock.times();
  std::map<std::string, double> named;
  times.each([&](const std::string& name, double seconds) { named[name] = seconds; });
  for (const char* name :
       {"data", "attention_forward", "exchange_forward", "experts_backward", "exchange_update"})
    CHECK(named.count(name) == 1);
  CHECK(named.count("experts_forward") == 0);
  CHECK(times.at(Part::attention, Pass::forward) >= of_attention);
  CHECK(times.at(Part::exchange, Pass::forward) >= of_exchange);
  CHECK(times.of(Part::exchange) ==
        times.at(Part::exchange, Pass::forward) + times.at(Part::exchange, Pass::update));
  CHECK(times.total() <= whole);
  CHECK(times.total() >= at_least);
}

TEST_CASE("a clock that does not run, and a queue without one, take no marks", "[tensor][phases]") {
  mark(Part::attention, Queue<Space::host>{});
  const PartScope none(Part::exchange, Queue<Space::host>{});

  PhaseClock<Space::host> clock;
  const Queue<Space::host> queue{&clock};
  mark(Part::attention, queue);
  CHECK(clock.times().total() == 0);
  clock.begin(queue);
  clock.end(queue);
  const double step = clock.times().total();
  mark(Part::attention, Pass::backward, queue);
  CHECK(clock.times().total() == step);
  clock.begin(queue);
  clock.end(queue);
  CHECK(clock.times().of(Part::attention) == 0);
}
