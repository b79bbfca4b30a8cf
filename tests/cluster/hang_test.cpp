// Whole jobs that hang or lose a rank, started as a user would: they must end by themselves, soon, and say
// why.
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <sys/wait.h>

#include "tests/support/catch.h"

namespace moebius::cluster {
namespace {

struct Ended {
  std::string output;
  double seconds;
  int code;
};

/// Runs the hidden case of cluster_mpi_tests on three ranks.
Ended run(const std::string& tag) {
  namespace fs = std::filesystem;
  const fs::path program = fs::read_symlink("/proc/self/exe").parent_path() / "cluster_mpi_tests";
  REQUIRE(fs::exists(program));
  const fs::path launcher = fs::path(__FILE__).parent_path() / "../support/mpi_run.sh";
  const std::string command =
      "timeout 50 " + launcher.string() + " 3 " + program.string() + " '[" + tag + "]' 2>&1";
  const auto began = std::chrono::steady_clock::now();
  FILE* const pipe = ::popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  Ended ended{};
  std::array<char, 4096> buffer{};
  while (const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe))
    ended.output.append(buffer.data(), got);
  ended.code = WEXITSTATUS(::pclose(pipe));
  ended.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  return ended;
}

bool has(const Ended& ended, const std::string& phrase) {
  return ended.output.find(phrase) != std::string::npos;
}

// Timeout 2 s, at most 0.5 s until the watchdog looks, 2 s for answers, mpirun's own second; the rest is for
// a machine that has other work.
constexpr double kSoon = 25;

}  // namespace

TEST_CASE("a rank that sleeps is named with its phase", "[slow]") {
  const Ended ended = run("hang_sleep");
  CAPTURE(ended.output);
  CHECK(ended.code == 1);
  CHECK(ended.seconds < kSoon);
  CHECK(has(ended, "all_reduce 'loss' (all 3 ranks, call "));
  CHECK(has(ended, "in phase forward"));
  CHECK(has(ended, "rank 2 did not arrive: in phase data for "));
}

TEST_CASE("a rank that is stopped gives no answer", "[slow]") {
  const Ended ended = run("hang_stopped");
  CAPTURE(ended.output);
  CHECK(ended.code == 1);
  CHECK(ended.seconds < kSoon);
  CHECK(has(ended, "rank 2 did not arrive: no answer (stopped, dead or not reachable)"));
}

TEST_CASE("a suspended job goes on", "[slow]") {
  const Ended ended = run("hang_suspended");
  CAPTURE(ended.output);
  CHECK(ended.code == 0);
  CHECK(ended.seconds > 5);
}

TEST_CASE("a rank that is killed ends the job", "[slow]") {
  const Ended ended = run("hang_killed");
  CAPTURE(ended.output);
  CHECK(ended.code != 0);
  CHECK(ended.seconds < kSoon);
}

TEST_CASE("a rank that fails alone says why and ends the job with its code", "[slow]") {
  const Ended ended = run("hang_throws");
  CAPTURE(ended.output);
  CHECK(ended.code == 3);
  CHECK(ended.seconds < kSoon);
  CHECK(has(ended, "rank 2: error: shard 3 is short"));
}

TEST_CASE("an error that leaves the cluster's life ends the job", "[slow]") {
  const Ended ended = run("hang_unwinds");
  CAPTURE(ended.output);
  CHECK(ended.code == 1);
  CHECK(ended.seconds < kSoon);
}

}  // namespace moebius::cluster
