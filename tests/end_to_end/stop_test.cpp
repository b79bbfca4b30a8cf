#include <chrono>
#include <random>
#include <signal.h>
#include <thread>

#include "tests/end_to_end/tiny_job.h"
#include "tests/support/catch.h"

using namespace moebius;

namespace {

/// A run in the background.
class Background {
 public:
  explicit Background(const std::string& command) {
    pid_ = ::fork();
    if (pid_ == 0) {
      ::setpgid(0, 0);
      ::execl("/bin/sh", "sh", "-c", ("exec " + command + " >/dev/null 2>&1 </dev/null").c_str(), nullptr);
      ::_exit(127);
    }
  }
  [[nodiscard]] pid_t pid() const { return pid_; }
  int wait() const {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  /// The moebius processes among its children.
  [[nodiscard]] std::vector<pid_t> ranks() const {
    std::vector<pid_t> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string name = entry.path().filename();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      const std::string stat = test::slurp(entry.path() / "stat");
      const auto behind = stat.rfind(") ");
      if (behind == std::string::npos || stat.find("(moebius)") == std::string::npos) continue;
      std::istringstream fields(stat.substr(behind + 2));
      std::string state;
      pid_t parent = 0;
      fields >> state >> parent;
      if (parent == pid_) found.push_back(pid_t(std::stol(name)));
    }
    return found;
  }

 private:
  pid_t pid_;
};

bool has_iteration(const std::string& metrics, int wanted) {
  return test::slurp(metrics).find("\"iteration\":" + std::to_string(wanted) + ",") != std::string::npos;
}

void wait_for_iteration(const std::string& metrics, int wanted) {
  for (int tries = 0; tries < 3000 && !has_iteration(metrics, wanted); ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  REQUIRE(has_iteration(metrics, wanted));
}

}  // namespace

TEST_CASE("a signal ends the run at a step with a checkpoint and exit code 75, and it goes on",
          "[slow][stop]") {
  const test::TemporaryFolder folder;
  const test::Program program(folder);
  test::TinyJob job(folder);
  job.settings["train"]["iterations"] = "400";
  job.settings["checkpoint"]["interval"] = "1000";
  const bool to_launcher = GENERATE(true, false);
  const std::string name = to_launcher ? "usr1" : "term";
  const std::string metrics = job.output(name) + "/metrics.jsonl", file = job.file(name);

  const Background run(test::Program::command(2, {"train", file}));
  wait_for_iteration(metrics, 5);
  if (to_launcher) {
    ::kill(run.pid(), SIGUSR1);
  } else {
    const auto ranks = run.ranks();
    REQUIRE(ranks.size() == 2);
    ::kill(ranks[1], SIGTERM);
  }
  CHECK(run.wait() == 75);
  const auto rows = job.metrics(name);
  REQUIRE(rows.size() < 400);
  const auto last = rows.back()["iteration"].get<int>();
  CHECK(std::filesystem::exists(fmt::format("{}/checkpoints/step_{:08}.h5", job.output(name), last)));

  const auto again = program.run(2, {"train", file, "--set", fmt::format("train.iterations={}", 400)});
  INFO(again.err);
  CHECK(again.exit_code == 0);
  CHECK(job.metrics(name).size() == 400);
  const auto no_op = program.run(2, {"train", file});
  CHECK(no_op.exit_code == 0);
  CHECK(job.metrics(name).size() == 400);
}

TEST_CASE("kill -9 of one rank at any moment loses nothing but the steps since the checkpoint",
          "[slow][kill]") {
  const test::TemporaryFolder folder;
  const test::Program program(folder);
  test::TinyJob job(folder);
  job.settings["train"]["iterations"] = "60";
  job.settings["checkpoint"]["interval"] = "2";  // so that many of the moments fall into a save
  REQUIRE(program.run(2, {"train", job.file("calm")}).exit_code == 0);
  const auto calm = job.metrics("calm");

  const char* wanted = std::getenv("MOEBIUS_KILLS");
  const int kills = wanted == nullptr ? 6 : std::atoi(wanted);
  std::mt19937 random(1);
  const std::string file = job.file("killed");
  int done = 0;
  while (done < kills) {
    const Background run(test::Program::command(2, {"train", file}));
    std::this_thread::sleep_for(std::chrono::milliseconds(300 + random() % 1500));
    const auto ranks = run.ranks();
    if (!ranks.empty()) ::kill(ranks[random() % ranks.size()], SIGKILL);
    const int status = run.wait();
    if (ranks.empty()) REQUIRE(status == 0);
    ++done;
    if (status != 0) continue;
    const auto rows = job.metrics("killed");  // it came through: the next kills get a new run
    REQUIRE(rows.size() == 60);
    for (std::size_t i = 0; i < rows.size(); ++i) CHECK(rows[i]["loss"] == calm[i]["loss"]);
    std::filesystem::remove_all(job.output("killed"));
  }
  const auto last = program.run(2, {"train", file});
  INFO(last.err);
  REQUIRE(last.exit_code == 0);
  const auto rows = job.metrics("killed");
  REQUIRE(rows.size() == 60);
  for (std::size_t i = 0; i < rows.size(); ++i) CHECK(rows[i]["loss"] == calm[i]["loss"]);
}
