#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/error.h"
#include "cluster/environment.h"
#include "cluster/mesh.h"
#include "cluster/reduction.h"
#include "cluster/watchdog.h"

/// cluster: the ranks that the program runs on, and how they stay together.
///
/// Start-up, in this order (commands/ does it):
///   1. Environment::of(environ)                what the launcher and the queue say
///   2. Cluster cluster(environment)            MPI, ranks, nodes; the watchdog can be asked from here on
///   3. cluster.conclude([&] { ... })           everything else happens in here
///   4. cluster.together("read the job", ...)   files are read and checked; all ranks go on, or none
///   5. cluster.watchdog().set_timeout(...)     as the job says
///   6. Mesh(cluster.size(), cluster.rank(), degrees), parallel::make_mpi_exchange(cluster, mesh)
///   7. StopSignals, Deadline, stop_agreed      when to end early
///
///   environment.h  the environment as a value; who launched us
///   mesh.h         which ranks work together along which axis
///   watchdog.h     hangs become errors
///   stop.h         signals and time limits become an agreed end of the training loop
///   mpi.h          MPI's handles as objects; the only way to <mpi.h>
namespace moebius::cluster {

class Communicator;

/// A shared-memory node, with the world ranks on it in rising order.
struct Node {
  std::string host;
  std::vector<std::int64_t> ranks;
};

/// An error that every rank throws alike: who catches it may return instead of aborting.
struct AgreedError : Error {
  using Error::Error;
};

/// MPI from start to end. One object a process, first to be made and last to go. All calls that take a
/// `name` are collective over all ranks and watched under that name; they are for control, not for tensors
/// (parallel/exchange.h).
class Cluster {
 public:
  /// Throws ClusterError where a launcher started several processes that MPI does not connect.
  explicit Cluster(const Environment& environment);
  /// On the ranks of `ranks` alone, of a program that has started MPI; the others may be doing something
  /// else.
  explicit Cluster(Communicator ranks);
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;
  /// Waits for all ranks (MPI_Finalize); aborts the job where an exception is on its way.
  ~Cluster();

  [[nodiscard]] std::int64_t rank() const { return rank_; }
  [[nodiscard]] std::int64_t size() const { return size_; }
  /// Place among the ranks of this node.
  [[nodiscard]] std::int64_t local_rank() const { return local_rank_; }
  [[nodiscard]] const std::vector<Node>& nodes() const { return nodes_; }
  /// The node of this rank.
  [[nodiscard]] const Node& node() const { return nodes_[node_]; }
  [[nodiscard]] Watchdog& watchdog() { return *watchdog_; }
  /// For the back ends of parallel/ and for checkpoint/, through cluster/mpi.h.
  [[nodiscard]] const Communicator& world() const { return *world_; }

  void barrier(std::string_view name);
  /// The bytes of rank `root` on every rank.
  [[nodiscard]] std::string broadcast(std::string_view name, std::string bytes, std::int64_t root = 0);
  /// The value of every rank, by rank, on every rank. T: std::int64_t, double, std::string.
  template <class T>
  [[nodiscard]] std::vector<T> all_gather(std::string_view name, const T& value);
  /// The texts of all ranks on rank 0, nothing on the others.
  [[nodiscard]] std::vector<std::string> gather(std::string_view name, const std::string& text);
  /// In place; the same bits on every rank (summed in the order of the ranks). T: std::int64_t, double.
  template <class T>
  void all_reduce(std::string_view name, std::span<T> values, Reduction reduction);
  /// The same for one value.
  template <class T>
  requires std::is_arithmetic_v<T>
  [[nodiscard]] T all_reduce(std::string_view name, T value, Reduction reduction) {
    all_reduce(name, std::span<T>(&value, 1), reduction);
    return value;
  }

  /// Runs `work` on every rank and returns its result. Where it threw on any rank, all ranks throw
  /// AgreedError with the code and the text of the first rank that failed. `work` must not leave a
  /// collective that other ranks are in.
  template <class Work>
  auto together(std::string_view name, Work&& work) {
    using Result = std::invoke_result_t<Work>;
    if constexpr (std::is_void_v<Result>) {
      agree(name, caught([&] { work(); }));
    } else {
      std::optional<Result> result;
      agree(name, caught([&] { result.emplace(work()); }));
      return Result(std::move(*result));
    }
  }

  /// What rank 0 does alone for all: all ranks wait for it. Where it threw, all ranks throw AgreedError with
  /// its code and text.
  void on_first_rank(std::string_view name, const std::function<void()>& work) {
    agree(name, rank_ == 0 ? caught(work) : std::nullopt, Witness::needs_no_name);
  }

  /// This rank's whole program: the exit code that `body` returns, or that of the error it throws. An
  /// AgreedError is told by rank 0 and returned. Any other is told by the rank it happened on, with the phase
  /// that it left, and, as the others may wait for this rank, ends the job.
  [[nodiscard]] ExitCode conclude(const std::function<ExitCode()>& body);

  /// Runs `body`. Any error but an AgreedError ends the job where this is called, told as `conclude` does:
  /// what lies behind may be memory that messages under way still read and write. On one rank it goes on.
  void or_end_job(const std::function<void()>& body);

  /// Something failed inside a step: says it and ends the job on all ranks.
  [[noreturn]] void abort(ExitCode code, const std::string& text);

 private:
  struct Failure {
    ExitCode code;
    std::string text;
  };
  static std::optional<Failure> caught(const std::function<void()>& work);
  /// Of the exception that is being handled, with the phase that it left.
  [[nodiscard]] Failure failure_on_its_way() const;
  /// Whether the error says which rank saw it; where all ranks did, it never does.
  enum class Witness : std::uint8_t { is_named, needs_no_name };
  void agree(std::string_view name, const std::optional<Failure>& failure,
             Witness witness = Witness::is_named);
  void start_watchdog();
  void find_nodes();

  class Runtime;  // MPI_Init and MPI_Finalize; none where somebody else has called them
  std::unique_ptr<Runtime> runtime_;
  std::unique_ptr<Communicator> world_;
  std::int64_t rank_ = 0, size_ = 1, local_rank_ = 0;
  std::vector<Node> nodes_;
  std::size_t node_ = 0;
  std::unique_ptr<Watchdog> watchdog_;
};

/// "8 ranks on 2 nodes, tensor 2 x data 4, expert 8": one line for the log.
[[nodiscard]] std::string describe(const Cluster& cluster, const Mesh& mesh);

}  // namespace moebius::cluster
