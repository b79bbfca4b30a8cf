#pragma once
#include <array>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/mesh.h"

namespace moebius::cluster {

/// Turns a hang into an error. Every rank tells its watchdog what it is in: a phase ("forward") and, while in
/// one, a collective (Watch). When a collective has lasted longer than the timeout, the watchdog's thread
/// asks the watchdogs of all ranks, over UDP and not through MPI, where they are; writes which collective it
/// is, which ranks of the axis did not arrive and what each of them does instead ("no answer": stopped, dead
/// or not reachable); and ends the job. Nothing is sent while all is well.
///
/// A call is known by its number along the axis, because every rank of an axis makes the same calls in the
/// same order: rank q has arrived when it has entered as many calls as the rank that waits.
class Watchdog {
 public:
  using Seconds = std::chrono::duration<double>;

  struct Settings {
    std::int64_t rank = 0, size = 1;
    /// Gets the report; called from the watchdog's thread; ends the job (tests: keeps the report).
    std::function<void(const std::string& report)> on_hang;
    Seconds timeout{600};
    /// How long the others have for an answer.
    Seconds patience{2};
  };

  explicit Watchdog(Settings settings);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  ~Watchdog();

  /// Where this watchdog can be asked: "address address ...:port", for the other ranks' `connect`.
  [[nodiscard]] std::string endpoint() const;
  /// Starts watching. `endpoints` of all ranks by rank; `job` is a number that other jobs do not have, so
  /// that a stray packet is not taken for one of ours.
  void connect(const std::vector<std::string>& endpoints, std::uint64_t job);
  /// The groups of the axes; counts the calls of all axes but the world anew. All ranks or none.
  void use(const Mesh& mesh);
  void set_timeout(Seconds timeout);
  /// What this rank does from here on, in one word; `phase` must outlive its use (a literal). Returns the one
  /// before. Tells the observer.
  std::string_view enter_phase(std::string_view phase);
  /// Told of each phase as it begins, in the thread that begins it; may throw, as the phase itself may.
  void observe_phases(std::function<void(std::string_view phase)> observer);
  /// The innermost phase that the latest error has left; "" where none has.
  [[nodiscard]] std::string_view failed_phase() const;

 private:
  friend class Watch;
  friend class Phase;
  void leave_phase(std::string_view before, bool by_error);
  std::uint64_t enter(Axis axis, std::string_view operation, std::string_view name);
  void leave(std::uint64_t ticket);
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// Marks a collective for as long as the object lives: `Watch watch(watchdog, Axis::tensor, "all_reduce",
/// "layers.3.norm")`. The texts must outlive it.
class [[nodiscard]] Watch {
 public:
  Watch(Watchdog& watchdog, Axis axis, std::string_view operation, std::string_view name)
      : watchdog_(watchdog), ticket_(watchdog.enter(axis, operation, name)) {}
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  ~Watch() { watchdog_.leave(ticket_); }

 private:
  Watchdog& watchdog_;
  std::uint64_t ticket_;
};

/// Names what a rank does until the end of the block: "data", "forward", "backward", "optimizer", "save".
class [[nodiscard]] Phase {
 public:
  Phase(Watchdog& watchdog, std::string_view phase)
      : watchdog_(watchdog), before_(watchdog.enter_phase(phase)) {}
  Phase(const Phase&) = delete;
  Phase& operator=(const Phase&) = delete;
  ~Phase() { watchdog_.leave_phase(before_, std::uncaught_exceptions() > exceptions_); }

 private:
  Watchdog& watchdog_;
  std::string_view before_;
  int exceptions_ = std::uncaught_exceptions();
};

}  // namespace moebius::cluster
