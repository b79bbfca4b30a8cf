#include <csignal>
#include <cstdlib>
#include <sstream>

#include "base/file.h"
#include "job/load.h"
#include "models/models.h"
#include "tests/support/catch.h"
#include "training/training.h"

using namespace moebius;

namespace {

/// What happens to one rank, from the environment variable FAULT: "stop backward 3 2" stops rank 3 when it
/// begins backward for the second time.
struct Fault {
  std::string action, phase;
  std::int64_t rank = 0, occurrence = 1;

  static Fault given() {
    Fault fault;
    const char* const text = std::getenv("FAULT");
    REQUIRE(text != nullptr);
    std::istringstream(text) >> fault.action >> fault.phase >> fault.rank >> fault.occurrence;
    return fault;
  }
  void strike() const {
    if (action == "kill") std::raise(SIGKILL);
    if (action == "stop") std::raise(SIGSTOP);
    if (action == "throw") throw InputError("a fault that was asked for");
  }
};

}  // namespace

/// Run by tests/end_to_end/failure_test.cpp: the job of the variable JOB_FILE, as `moebius train` runs it.
TEST_CASE("failure: a rank meets a fault in a phase", "[.][failure]") {
  cluster::Cluster cluster{cluster::Environment()};
  const ExitCode code = cluster.conclude([&] {
    const std::string file = std::getenv("JOB_FILE");
    const job::Job job = job::load_job({.text = read_file(file, 1 << 20), .file = file}, job::Purpose::train);
    const auto config = models::read_config(read_file(job.model.config, 1 << 20), job.model.config);
    Fault fault = Fault::given();
    if (cluster.rank() == fault.rank) {
      cluster.watchdog().observe_phases([&fault](std::string_view phase) {
        if (phase == fault.phase && --fault.occurrence == 0) fault.strike();
      });
    }
    const training::Start start{.job = job, .config = config, .files = {}, .text = {}, .read_weights = {}};
    (void)training::train(start, cluster, cluster::Environment(), Log(int(cluster.rank())));
    return ExitCode::done;
  });
  CHECK(code == ExitCode::done);
}
