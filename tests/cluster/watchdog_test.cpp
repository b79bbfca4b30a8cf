#include "cluster/watchdog.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "cluster/hang_report.h"
#include "tests/support/catch.h"

namespace moebius::cluster {
namespace {

using namespace std::chrono_literals;

/// How many of the phrases are missing in the text; names them.
int missing_in(const std::string& text, std::initializer_list<const char*> phrases) {
  int missing = 0;
  for (const char* const phrase : phrases) {
    if (text.find(phrase) != std::string::npos) continue;
    ++missing;
    WARN("'" << phrase << "' is not in: " << text);
  }
  return missing;
}

/// The watchdogs of all ranks of a job in one process: they only meet over their sockets anyway.
class Kennel {
 public:
  explicit Kennel(std::int64_t size, const Degrees& degrees = {}, Watchdog::Seconds timeout = 300ms) {
    std::vector<std::string> endpoints;
    for (std::int64_t rank = 0; rank < size; ++rank) {
      dogs_.push_back(std::make_unique<Watchdog>(
          Watchdog::Settings{.rank = rank,
                             .size = size,
                             .on_hang = [this, rank](const std::string& report) { keep(rank, report); },
                             .timeout = timeout,
                             .patience = 500ms}));
      dogs_.back()->use(Mesh(size, rank, degrees));
      endpoints.push_back(dogs_.back()->endpoint());
    }
    for (auto& dog : dogs_) dog->connect(endpoints, 4711);
  }
  ~Kennel() {
    for (auto& dog : dogs_) dog.reset();
  }

  Watchdog& operator[](std::size_t rank) { return *dogs_[rank]; }
  void kill(std::size_t rank) { dogs_[rank].reset(); }

  /// The first report, "" when there is none within `limit`.
  std::string report(std::chrono::milliseconds limit = 5000ms) {
    std::unique_lock lock(mutex_);
    came_.wait_for(lock, limit, [this] { return !reports_.empty(); });
    return reports_.empty() ? "" : reports_.front();
  }
  std::size_t reports() {
    const std::scoped_lock lock(mutex_);
    return reports_.size();
  }

 private:
  void keep(std::int64_t, const std::string& report) {
    const std::scoped_lock lock(mutex_);
    reports_.push_back(report);
    came_.notify_all();
  }

  std::vector<std::unique_ptr<Watchdog>> dogs_;
  std::mutex mutex_;
  std::condition_variable came_;
  std::vector<std::string> reports_;
};

}  // namespace

TEST_CASE("the report names the collective, the rank that did not arrive and what it does instead") {
  Kennel dogs(4, {.tensor = 2});
  const Phase phase(dogs[3], "data");
  const Phase other(dogs[2], "forward");
  const Watch watch(dogs[2], Axis::tensor, "all_reduce", "layers.3.norm");
  const std::string report = dogs.report();
  CHECK(missing_in(report, {"all_reduce 'layers.3.norm' (axis tensor, ranks 2, 3, call 1)",
                            "on rank 2, in phase forward", "rank 3 did not arrive: in phase data for"}) == 0);
  CHECK(report.find("rank 0 ") == std::string::npos);
  CHECK(report.find("rank 1 ") == std::string::npos);
}

TEST_CASE("a rank that gives no answer is told apart from one that is busy") {
  Kennel dogs(3);
  dogs.kill(1);
  const Phase phase(dogs[2], "save");
  const Watch watch(dogs[0], Axis::world, "barrier", "before saving");
  CHECK(missing_in(dogs.report(),
                   {"barrier 'before saving' (all 3 ranks, call 1)", "rank 1 did not arrive: no answer",
                    "rank 2 did not arrive: in phase save for"}) == 0);
}

TEST_CASE("the report follows a rank that waits itself") {
  Kennel dogs(4, {.tensor = 2});  // data groups: 0 2 and 1 3
  const Phase phase(dogs[3], "data");
  const Watch culprit_waits(dogs[2], Axis::tensor, "all_gather", "layers.0.qkv");
  const Watch victim_waits(dogs[0], Axis::data, "all_reduce", "gradients");
  const std::string report = dogs.report();
  CHECK(missing_in(report, {"all_gather 'layers.0.qkv'", "rank 3 did not arrive: in phase data"}) == 0);
}

TEST_CASE("different calls in one place are named") {
  Kennel dogs(2);
  const Watch one(dogs[0], Axis::world, "all_reduce", "loss");
  const Watch other(dogs[1], Axis::world, "barrier", "before saving");
  CHECK(missing_in(dogs.report(), {"made another call in its place"}) == 0);
}

TEST_CASE("one rank reports, not each that waits") {
  Kennel dogs(6);
  std::vector<std::unique_ptr<Watch>> watches;
  for (std::size_t rank = 0; rank < 5; ++rank)
    watches.push_back(std::make_unique<Watch>(dogs[rank], Axis::world, "all_reduce", "loss"));
  CHECK(missing_in(dogs.report(), {"rank 5 did not arrive: in phase start"}) == 0);
  std::this_thread::sleep_for(300ms);
  CHECK(dogs.reports() == 1);
}

TEST_CASE("collectives that end in time and ranks that compute for long are left alone") {
  Kennel dogs(2);
  for (int call = 0; call < 50; ++call) {
    const Watch one(dogs[0], Axis::world, "all_reduce", "loss");
    const Watch other(dogs[1], Axis::world, "all_reduce", "loss");
    std::this_thread::sleep_for(10ms);
  }
  std::this_thread::sleep_for(500ms);
  CHECK(dogs.reports() == 0);
}

TEST_CASE("a longer timeout is kept") {
  Kennel dogs(2);
  dogs[0].set_timeout(60s);
  const Watch watch(dogs[0], Axis::world, "barrier", "slow file system");
  CHECK(dogs.report(1000ms).empty());
}

TEST_CASE("ranks of another job do not answer") {
  Kennel dogs(2), strangers(2);
  dogs.kill(1);
  // The stranger's socket is asked with our job's number: it must stay silent.
  Watchdog lost(
      {.rank = 0, .size = 2, .on_hang = [](const std::string&) {}, .timeout = 200ms, .patience = 300ms});
  std::string report;
  std::mutex mutex;
  Watchdog asker({.rank = 0,
                  .size = 2,
                  .on_hang =
                      [&](const std::string& text) {
                        const std::scoped_lock lock(mutex);
                        report = text;
                      },
                  .timeout = 200ms,
                  .patience = 300ms});
  asker.connect({asker.endpoint(), strangers[1].endpoint()}, 1234);
  const Watch watch(asker, Axis::world, "barrier", "alone");
  std::this_thread::sleep_for(1500ms);
  const std::scoped_lock lock(mutex);
  CHECK(missing_in(report, {"rank 1 did not arrive: no answer"}) == 0);
}

TEST_CASE("a hang of many ranks is told in few lines") {
  const std::int64_t size = 100;
  std::vector<std::optional<RankState>> states(size);
  RankState waiter{
      .rank = 0, .waiting = 1, .axis = std::int64_t(Axis::world), .number = 3, .waiting_seconds = 12};
  waiter.calls[std::size_t(Axis::world)] = 3;
  states[0] = waiter;
  const std::string report = hang_report(waiter, states, Mesh(size, 0, {}));
  CHECK(std::count(report.begin(), report.end(), '\n') == 17);
  CHECK(missing_in(report, {"and 83 ranks more"}) == 0);
}

}  // namespace moebius::cluster
