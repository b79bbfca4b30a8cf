#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "cluster/cluster.h"

namespace moebius::cluster {

/// Takes SIGUSR1, SIGTERM and SIGINT as a wish to stop for as long as the object lives. All of them can come
/// again without harm, but a second SIGINT, from a person at a terminal, ends the process at once.
/// Open MPI's mpirun passes SIGUSR1 on to the ranks; on SIGTERM it kills them after a second or so, which is
/// too short for a checkpoint: signal mpirun with SIGUSR1, or single ranks with either.
class StopSignals {
 public:
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();

  /// The first signal that came, 0 before.
  [[nodiscard]] int caught() const;

 private:
  struct Before;  // the handlers to put back
  std::unique_ptr<Before> before_;
};

/// When the job will be killed, in seconds since 1970 (the clock that queues use); may be never.
struct Deadline {
  std::optional<double> end;
  double margin = 0;  // seconds to be done before `end`

  [[nodiscard]] static Deadline never() { return {}; }
  /// `seconds` from `now`.
  [[nodiscard]] static Deadline after(double seconds, double now = unix_seconds());
  /// What the queue says (SLURM_JOB_END_TIME); never, outside of one.
  [[nodiscard]] static Deadline of_queue(const Environment& environment, double now = unix_seconds());
  /// Whether something that takes `seconds` cannot be finished in time any more.
  [[nodiscard]] bool too_late_for(double seconds, double now = unix_seconds()) const;

  [[nodiscard]] static double unix_seconds();
};

/// Why training must stop now, agreed by all ranks: "SIGUSR1 on rank 3", "time limit"; nothing while it may
/// go on. `seconds_needed`: what one more iteration and a checkpoint take. Collective, at a step boundary.
[[nodiscard]] std::optional<std::string> stop_agreed(Cluster& cluster, const StopSignals& signals,
                                                     const Deadline& deadline, double seconds_needed);

}  // namespace moebius::cluster
