#include "cluster/stop.h"

#include <csignal>

#include "tests/support/catch.h"

namespace moebius::cluster {

TEST_CASE("the first signal is kept, and the old handlers come back") {
  struct sigaction before {
  }, after{};
  sigaction(SIGTERM, nullptr, &before);
  {
    const StopSignals signals;
    CHECK(signals.caught() == 0);
    std::raise(SIGUSR1);
    CHECK(signals.caught() == SIGUSR1);
    std::raise(SIGTERM);
    std::raise(SIGTERM);
    CHECK(signals.caught() == SIGUSR1);
  }
  sigaction(SIGTERM, nullptr, &after);
  CHECK(before.sa_handler == after.sa_handler);
  const StopSignals anew;
  CHECK(anew.caught() == 0);
}

TEST_CASE("a deadline keeps its margin") {
  const Deadline deadline = Deadline::after(3600, 1000);
  CHECK(deadline.end == 4600.0);
  CHECK(deadline.margin == 60);  // 2 % of an hour, at most a minute
  CHECK_FALSE(deadline.too_late_for(100, 4400));
  CHECK(deadline.too_late_for(100, 4441));
  CHECK(Deadline::after(10, 0).margin == 1);
  CHECK_FALSE(Deadline::never().too_late_for(1e9, 1e12));
}

TEST_CASE("the queue's deadline is read from Slurm's environment") {
  const Environment slurm = Environment::of({{"SLURM_JOB_END_TIME", "1700003600"}});
  const Deadline deadline = Deadline::of_queue(slurm, 1700000000);
  CHECK(deadline.end == 1700003600.0);
  CHECK(deadline.too_late_for(0, 1700003590));
  CHECK_FALSE(Deadline::of_queue(Environment(), 1700000000).end);
  CHECK_FALSE(Deadline::of_queue(Environment::of({{"SLURM_JOB_END_TIME", "soon"}})).end);
}

}  // namespace moebius::cluster
