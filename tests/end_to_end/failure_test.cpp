// Whole jobs of which one rank dies, stops or throws: they end by themselves, soon, and say who and where.
#include <chrono>
#include <cstdlib>

#include "tests/end_to_end/tiny_job.h"
#include "tests/support/catch.h"

using namespace moebius;

namespace {

constexpr int kRanks = 4;
constexpr double kTimeout = 4;  // seconds, of the job
/// From the start of the job: that, two seconds for answers, mpirun's own, and as much as a loaded machine
/// needs to start four ranks.
constexpr double kSoon = 45;

struct Ended {
  int code;
  std::string text;
  double seconds;
};

/// Runs the hidden case of training_mpi_tests, which stands beside the program.
Ended run_with_fault(const test::TemporaryFolder& folder, const std::string& job, const std::string& fault) {
  const std::string program =
      (std::filesystem::path(MOEBIUS_BINARY).parent_path() / "training_mpi_tests").string();
  REQUIRE(std::filesystem::exists(program));
  const std::string out = (folder / "output").string();
  const std::string line =
      fmt::format("FAULT={} JOB_FILE={} timeout --kill-after=5 100 {} {} {} '[failure]' >{} 2>&1 </dev/null",
                  test::quoted(fault), test::quoted(job), test::quoted(MPI_TEST_RUN), kRanks,
                  test::quoted(program), test::quoted(out));
  const auto began = std::chrono::steady_clock::now();
  const int status = std::system(line.c_str());
  const std::chrono::duration<double> lasted = std::chrono::steady_clock::now() - began;
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), test::slurp(out), lasted.count()};
}

/// In the second iteration, of two micro batches a data rank; a save begins twice: the run's and the file's.
std::int64_t occurrence_of(const std::string& phase) {
  return phase == "forward" || phase == "backward" ? 4 : 2;
}

}  // namespace

TEST_CASE("a rank that dies, stops or throws in any phase ends the job in time, by name", "[slow][failure]") {
  const test::TemporaryFolder folder;
  test::TinyJob job(folder);
  job.settings["train"] = {{"global_batch_size", "4"}, {"iterations", "6"}};
  job.settings["parallel"] = {{"pipeline", "2"}};
  job.settings["checkpoint"] = {{"interval", "1"}};
  job.settings["cluster"] = {{"timeout", fmt::format("\"{}s\"", int(kTimeout))}};
  int run = 0;
  for (const std::string phase : {"forward", "backward", "optimizer", "save"}) {
    for (const int rank : {1, 2}) {  // of the first and of the last stage
      for (const std::string action : {"kill", "stop", "throw"}) {
        const std::string fault = fmt::format("{} {} {} {}", action, phase, rank, occurrence_of(phase));
        const Ended ended = run_with_fault(folder, job.file(fmt::format("run{}", ++run)), fault);
        INFO(fault << ", " << ended.seconds << " s:\n" << ended.text);
        CHECK(ended.seconds < kSoon);
        if (action == "kill") {
          CHECK(ended.code == 128 + SIGKILL);
          CHECK_THAT(ended.text,
                     Catch::Contains(fmt::format("process rank {} ", rank)) && Catch::Contains("signal 9"));
        }
        if (action == "stop") {
          CHECK(ended.code == 1);
          CHECK_THAT(ended.text, Catch::Contains(" has not ended after ") && Catch::Contains(", in phase ") &&
                                     Catch::Contains(fmt::format("rank {} did not arrive: no answer", rank)));
        }
        if (action == "throw") {
          CHECK(ended.code == 3);
          CHECK_THAT(ended.text,
                     Catch::Contains(fmt::format("rank {}: error: in phase {}: a fault that was asked for",
                                                 rank, phase)));
        }
      }
    }
  }
}
