#include <mpi.h>

#include <chrono>
#include <csignal>
#include <fmt/format.h>
#include <numeric>
#include <thread>
#include <unistd.h>

#include "cluster/cluster.h"
#include "cluster/mpi.h"
#include "cluster/stop.h"
#include "tests/support/catch.h"

namespace moebius::cluster {
namespace {

using namespace std::chrono_literals;

/// The message and the code of what `call` throws; {"", done} when it does not.
template <class Call>
std::pair<std::string, ExitCode> agreed_error(Call&& call) {
  try {
    call();
  } catch (const AgreedError& error) {
    return {error.what(), error.code()};
  }
  return {"", ExitCode::done};
}

}  // namespace

TEST_CASE("ranks, nodes and the world agree with MPI") {
  Cluster cluster{Environment()};
  int rank = -1, size = -1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  CHECK(cluster.rank() == rank);
  CHECK(cluster.size() == size);
  std::int64_t ranks = 0;
  for (const Node& node : cluster.nodes()) {
    CHECK_FALSE(node.host.empty());
    ranks += std::int64_t(node.ranks.size());
  }
  CHECK(ranks == size);
  CHECK(cluster.node().ranks.at(std::size_t(cluster.local_rank())) == rank);
  CHECK(describe(cluster, Mesh(size, rank, {})) ==
        (size == 1 ? "1 rank on 1 node" : fmt::format("{0} ranks on 1 node, data {0}", size)));
}

TEST_CASE("a cluster of one rank is alone, whatever the others do") {
  Cluster cluster(Communicator::duplicate(MPI_COMM_SELF));
  CHECK(cluster.rank() == 0);
  CHECK(cluster.size() == 1);
  int rank = -1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  for (int i = 0; i < rank; ++i) CHECK(cluster.all_gather("numbers", std::int64_t(rank)).size() == 1);
}

TEST_CASE("a job that MPI does not connect is refused, one that it does is not") {
  const Environment launched_as_nine = Environment::of({{"SLURM_STEP_NUM_TASKS", "9"}});
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (size == 1) {
    CHECK_THROWS_AS(Cluster(launched_as_nine), ClusterError);
  } else {
    CHECK_NOTHROW(Cluster(launched_as_nine));
  }
}

TEST_CASE("control collectives give every rank the same") {
  Cluster cluster{Environment()};
  const std::int64_t rank = cluster.rank(), size = cluster.size();
  cluster.barrier("test");

  const auto numbers = cluster.all_gather("test", rank * rank);
  const auto reals = cluster.all_gather("test", 0.5 * double(rank));
  const auto texts = cluster.all_gather("test", std::string(std::size_t(rank), 'x'));
  for (std::int64_t r = 0; r < size; ++r) {
    CHECK(numbers[std::size_t(r)] == r * r);
    CHECK(reals[std::size_t(r)] == 0.5 * double(r));
    CHECK(texts[std::size_t(r)] == std::string(std::size_t(r), 'x'));  // rank 0's is empty
  }
  const auto gathered = cluster.gather("test", std::to_string(rank));
  CHECK(gathered.size() == std::size_t(rank == 0 ? size : 0));
  if (rank == 0) CHECK(gathered.back() == std::to_string(size - 1));

  const std::string bytes = rank == size - 1 ? std::string("a\0b", 3) + std::string(100'000, 'z') : "mine";
  CHECK(cluster.broadcast("test", bytes, size - 1).size() == 100'003);
  CHECK(cluster.broadcast("test", bytes, size - 1).substr(0, 3) == std::string("a\0b", 3));
  CHECK(cluster.broadcast("test", rank == 0 ? "" : "mine").empty());
}

TEST_CASE("control reductions") {
  Cluster cluster{Environment()};
  const std::int64_t rank = cluster.rank(), size = cluster.size();
  std::vector<std::int64_t> values{rank, -rank, 7};
  cluster.all_reduce("test", std::span(values), Reduction::sum);
  CHECK(values == std::vector<std::int64_t>{size * (size - 1) / 2, -size * (size - 1) / 2, 7 * size});
  CHECK(cluster.all_reduce("test", double(rank), Reduction::max) == double(size - 1));
  CHECK(cluster.all_reduce("test", -rank, Reduction::min) == 1 - size);
  std::vector<double> none;
  cluster.all_reduce("test", std::span(none), Reduction::sum);

  // In the order of the ranks: 1 + 1e16 - 1e16 ... is not what another order gives.
  const double value = rank == 0 ? 1 : (rank % 2 == 1 ? 1e16 : -1e16);
  double expected = 1;
  for (std::int64_t r = 1; r < size; ++r) expected += r % 2 == 1 ? 1e16 : -1e16;
  CHECK(cluster.all_reduce("test", value, Reduction::sum) == expected);
}

TEST_CASE("together: all ranks go on, or all throw what the first failing rank says") {
  Cluster cluster{Environment()};
  const std::int64_t rank = cluster.rank(), size = cluster.size();

  CHECK(cluster.together("test", [&] { return std::to_string(rank); }) == std::to_string(rank));
  int runs = 0;
  cluster.together("test", [&] { ++runs; });
  CHECK(runs == 1);

  const auto everywhere = agreed_error(
      [&] { cluster.together("test", [&]() -> int { throw InputError("config.json: no such file"); }); });
  CHECK(everywhere == std::pair<std::string, ExitCode>("config.json: no such file", ExitCode::input));

  const auto last_only = agreed_error([&] {
    cluster.together("test", [&] {
      if (rank == size - 1) throw UsageError("job.toml:1:1: no");
    });
  });
  const std::string who = size == 1 ? "" : "rank " + std::to_string(size - 1) + ": ";
  CHECK(last_only == std::pair<std::string, ExitCode>(who + "job.toml:1:1: no", ExitCode::usage));

  const auto odd_ranks = agreed_error([&] {
    cluster.together("test", [&] {
      if (rank % 2 == 1) throw std::runtime_error("odd " + std::to_string(rank));
    });
  });
  if (size == 1) CHECK(odd_ranks.first.empty());
  if (size > 1) CHECK(odd_ranks == std::pair<std::string, ExitCode>("rank 1: odd 1", ExitCode::failure));
  cluster.barrier("the ranks are still together");
}

TEST_CASE("conclude returns the code of the program or of the agreed error") {
  Cluster cluster{Environment()};
  CHECK(cluster.conclude([] { return ExitCode::stopped; }) == ExitCode::stopped);
  CHECK(cluster.conclude([&]() -> ExitCode {
    cluster.together("test", [] { throw InputError("an expected error of this test"); });
    return ExitCode::done;
  }) == ExitCode::input);
}

TEST_CASE("a signal on one rank stops all, and all know why") {
  Cluster cluster{Environment()};
  const StopSignals signals;
  CHECK(stop_agreed(cluster, signals, Deadline::never(), 1) == std::nullopt);
  CHECK(stop_agreed(cluster, signals, Deadline::after(1), 100) == "time limit");
  const std::int64_t last = cluster.size() - 1;
  if (cluster.rank() == last) std::raise(SIGTERM);
  CHECK(stop_agreed(cluster, signals, Deadline::never(), 1) == fmt::format("SIGTERM on rank {}", last));
  std::raise(SIGUSR1);
  const std::string again = *stop_agreed(cluster, signals, Deadline::after(1), 100);
  CHECK(again == fmt::format("SIGTERM on rank {}", last));  // SIGTERM has the higher number, clocks yield
}

// Not run by themselves: hang_test.cpp starts them under mpirun and watches how the job ends.
namespace {

void hang(const std::function<void(Cluster&)>& on_last_rank) {
  Cluster cluster{Environment()};
  cluster.watchdog().set_timeout(2s);
  cluster.barrier("before the hang");
  const Phase forward(cluster.watchdog(), "forward");
  if (cluster.rank() == cluster.size() - 1) {
    const Phase data(cluster.watchdog(), "data");
    on_last_rank(cluster);
  }
  (void)cluster.all_reduce("loss", 1.0, Reduction::sum);
  std::this_thread::sleep_for(60s);  // not reached in time by anybody
}

}  // namespace

TEST_CASE("hang: a rank sleeps", "[.][hang_sleep]") {
  hang([](Cluster&) { std::this_thread::sleep_for(60s); });
}
TEST_CASE("hang: a rank is stopped", "[.][hang_stopped]") {
  hang([](Cluster&) { std::raise(SIGSTOP); });
}
TEST_CASE("hang: a rank is killed", "[.][hang_killed]") {
  hang([](Cluster&) { std::raise(SIGKILL); });
}
/// As a queue does with a suspended job: stops this process for a while, from outside.
void suspend_after(std::chrono::milliseconds delay, std::chrono::milliseconds time) {
  const pid_t self = ::getpid();
  if (::fork() != 0) return;
  std::this_thread::sleep_for(delay);
  ::kill(self, SIGSTOP);
  std::this_thread::sleep_for(time);
  ::kill(self, SIGCONT);
  ::_exit(0);
}

TEST_CASE("hang: none, the job was suspended for longer than the timeout", "[.][hang_suspended]") {
  Cluster cluster{Environment()};
  cluster.watchdog().set_timeout(3s);
  cluster.barrier("before the suspension");
  suspend_after(200ms, 5000ms);
  if (cluster.rank() == 0) std::this_thread::sleep_for(6s);  // less than 1 s of its own
  CHECK(cluster.all_reduce("loss", 1.0, Reduction::sum) == double(cluster.size()));
}

TEST_CASE("hang: a rank fails outside of together", "[.][hang_throws]") {
  hang([](Cluster& cluster) {
    (void)cluster.conclude([]() -> ExitCode { throw InputError("shard 3 is short"); });
  });
}
TEST_CASE("hang: a rank fails and unwinds past its cluster", "[.][hang_unwinds]") {
  Cluster cluster{Environment()};
  if (cluster.rank() == cluster.size() - 1) {
    try {
      Cluster inner{Environment()};
      throw InputError("lost");
    } catch (const InputError&) {
    }
  } else {
    Cluster inner{Environment()};
    inner.barrier("never reached by the last");
  }
}

}  // namespace moebius::cluster
