#include "cluster/cluster.h"

#include <cstdio>
#include <exception>
#include <map>
#include <new>
#include <random>
#include <thread>
#include <unistd.h>

#include "base/log.h"
#include "cluster/mpi.h"

namespace moebius::cluster {
namespace {

/// How long MPI_Abort may take before the process ends itself; the launcher ends the others then.
constexpr std::chrono::seconds kAbortPatience{5};
constexpr const char* kNoMemory = "no memory is left; start more ranks or fewer on a node";

[[noreturn]] void end_process(ExitCode code) {
  std::fflush(nullptr);
  ::_exit(int(code));
}

/// Ends the job on all ranks, whatever state MPI is in.
[[noreturn]] void end_job(ExitCode code) {
  std::thread([code] {
    std::this_thread::sleep_for(kAbortPatience);
    end_process(code);
  }).detach();
  int level = MPI_THREAD_SINGLE;
  MPI_Query_thread(&level);
  int is_main = 0;
  MPI_Is_thread_main(&is_main);
  // Below MPI_THREAD_MULTIPLE another thread may not call MPI beside the main one; see Runtime.
  if (level == MPI_THREAD_MULTIPLE || is_main != 0) MPI_Abort(MPI_COMM_WORLD, int(code));
  end_process(code);
}

std::string host_name() {
  std::array<char, MPI_MAX_PROCESSOR_NAME> name{};
  int length = 0;
  check(MPI_Get_processor_name(name.data(), &length));
  return {name.data(), std::size_t(length)};
}

}  // namespace

/// MPI from MPI_Init to MPI_Finalize, unless somebody else has started it already (a test's main).
class Cluster::Runtime {
 public:
  Runtime() {
    int started = 0;
    MPI_Initialized(&started);
    owner_ = started == 0;
    int level = MPI_THREAD_SINGLE;
    // All collectives come from the main thread; only the watchdog's MPI_Abort comes from another one. With
    // a level below MULTIPLE it ends its own process instead, which the launcher answers in the same way.
    if (owner_) check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &level));
    if (!owner_) check(MPI_Query_thread(&level));
    if (level < MPI_THREAD_FUNNELED)
      throw ClusterError(
          "this MPI allows no threads (MPI_THREAD_FUNNELED is needed): use an MPI built with them");
  }
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;
  ~Runtime() {
    if (owner_) MPI_Finalize();
  }

 private:
  bool owner_;
};

Cluster::Cluster(const Environment& environment)
    : runtime_(std::make_unique<Runtime>()),
      world_(std::make_unique<Communicator>(Communicator::duplicate(MPI_COMM_WORLD))),
      rank_(world_->rank()),
      size_(world_->size()) {
  refuse_singletons(environment, size_);
  start_watchdog();
  find_nodes();
}

Cluster::Cluster(Communicator ranks)
    : world_(std::make_unique<Communicator>(std::move(ranks))), rank_(world_->rank()), size_(world_->size()) {
  start_watchdog();
  find_nodes();
}

void Cluster::start_watchdog() {
  watchdog_ = std::make_unique<Watchdog>(
      Watchdog::Settings{.rank = rank_, .size = size_, .on_hang = [this](const std::string& report) {
                           abort(ExitCode::failure, report);
                         }});
  const std::uint64_t job = std::random_device{}() | std::uint64_t{std::random_device{}()} << 32;
  watchdog_->connect(all_gather("watchdog endpoints", watchdog_->endpoint()),
                     std::uint64_t(all_gather("job number", std::int64_t(job)).front()));
}

Cluster::~Cluster() {
  // The others may be in a collective that this rank will never enter.
  if (std::uncaught_exceptions() > 0 && size_ > 1) abort(ExitCode::failure, "ended by an error");
  const Watch watch(*watchdog_, Axis::world, "MPI_Finalize", "end of the program");
  world_.reset();
  runtime_.reset();
}

void Cluster::find_nodes() {
  const Communicator node = world_->split_by_node();
  local_rank_ = node.rank();
  std::int64_t leader = rank_;  // by rank and not by name: containers on two hosts may share a name
  check(MPI_Bcast(&leader, 1, MPI_INT64_T, 0, node.get()));
  const std::vector<std::int64_t> leaders = all_gather("nodes", leader);
  const std::vector<std::string> hosts = all_gather("host names", host_name());
  std::map<std::int64_t, std::size_t> node_led_by;
  for (std::size_t rank = 0; rank < leaders.size(); ++rank) {
    const auto [found, is_new] = node_led_by.try_emplace(leaders[rank], nodes_.size());
    if (is_new) nodes_.push_back({hosts[rank], {}});
    nodes_[found->second].ranks.push_back(std::int64_t(rank));
  }
  node_ = node_led_by.at(leader);
}

std::optional<Cluster::Failure> Cluster::caught(const std::function<void()>& work) {
  try {
    work();
    return std::nullopt;
  } catch (const Error& error) {
    return Failure{error.code(), error.what()};
  } catch (const std::bad_alloc&) {
    return Failure{ExitCode::cluster, kNoMemory};
  } catch (const std::exception& error) {
    return Failure{ExitCode::failure, error.what()};
  }
}

void Cluster::agree(std::string_view name, const std::optional<Failure>& failure, Witness witness) {
  // One reduction tells both the first rank that failed and whether any rank did not.
  std::array<std::int64_t, 2> verdict{failure ? rank_ : size_, failure ? 1 : 0};
  all_reduce(name, std::span<std::int64_t>(verdict), Reduction::min);
  const auto [first, all_failed] = verdict;
  if (first == size_) return;
  const Failure own = failure.value_or(Failure{});
  const std::string told = broadcast(name, std::string(1, char(own.code)) + own.text, first);
  const bool is_named = witness == Witness::is_named && all_failed == 0;
  const std::string who = is_named ? "rank " + std::to_string(first) + ": " : "";
  throw AgreedError(ExitCode(told.front()), who + told.substr(1));
}

Cluster::Failure Cluster::failure_on_its_way() const {
  Failure failure = *caught([] { throw; });
  const std::string_view phase = watchdog_->failed_phase();
  if (!phase.empty()) failure.text = fmt::format("in phase {}: {}", phase, failure.text);
  return failure;
}

void Cluster::or_end_job(const std::function<void()>& body) {
  try {
    body();
  } catch (const AgreedError&) {
    throw;
  } catch (const std::exception&) {
    if (size_ == 1) throw;
    const Failure failure = failure_on_its_way();
    abort(failure.code, failure.text);
  }
}

ExitCode Cluster::conclude(const std::function<ExitCode()>& body) {
  try {
    ExitCode code = ExitCode::done;
    or_end_job([&] { code = body(); });
    return code;
  } catch (const AgreedError& error) {
    Log(int(rank_)).info("error: {}", error.what());
    return error.code();
  } catch (const std::exception&) {
    const Failure failure = failure_on_its_way();
    Log(0).info("error: {}", failure.text);
    return failure.code;
  }
}

void Cluster::abort(ExitCode code, const std::string& text) {
  Log(int(rank_)).any_rank("error: {}", text);
  if (size_ == 1) end_process(code);
  end_job(code);
}

std::string describe(const Cluster& cluster, const Mesh& mesh) {
  const auto count = [](std::int64_t number, const char* what) {
    return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
  };
  std::string text =
      count(cluster.size(), "rank") + " on " + count(std::int64_t(cluster.nodes().size()), "node");
  const std::string degrees = mesh.text();
  return degrees.empty() ? text : text + ", " + degrees;
}

}  // namespace moebius::cluster
