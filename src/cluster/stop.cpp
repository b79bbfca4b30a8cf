#include "cluster/stop.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <fmt/format.h>
#include <stdexcept>

namespace moebius::cluster {
namespace {

/// A handler gets no argument of ours: the one variable that C makes a program keep at file scope.
std::atomic<int> first_signal = 0;
static_assert(std::atomic<int>::is_always_lock_free);

struct Handled {
  int signal;
  const char* name;
  int flags;
};
// SA_RESTART: system calls of MPI and HDF5 go on. SA_RESETHAND: the second one has its usual effect.
constexpr std::array<Handled, 3> kHandled{{{SIGUSR1, "SIGUSR1", SA_RESTART},
                                           {SIGTERM, "SIGTERM", SA_RESTART},
                                           {SIGINT, "SIGINT", SA_RESTART | int(SA_RESETHAND)}}};

extern "C" void keep_signal(int signal) {
  int none = 0;
  first_signal.compare_exchange_strong(none, signal);
}

}  // namespace

struct StopSignals::Before {
  std::array<struct sigaction, kHandled.size()> actions;
};

StopSignals::StopSignals() : before_(std::make_unique<Before>()) {
  first_signal = 0;
  for (std::size_t i = 0; i < kHandled.size(); ++i) {
    struct sigaction action {};
    action.sa_handler = keep_signal;
    action.sa_flags = kHandled[i].flags;
    sigaction(kHandled[i].signal, &action, &before_->actions[i]);
  }
}

StopSignals::~StopSignals() {
  for (std::size_t i = 0; i < kHandled.size(); ++i)
    sigaction(kHandled[i].signal, &before_->actions[i], nullptr);
}

int StopSignals::caught() const {
  return first_signal;
}

double Deadline::unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Deadline Deadline::after(double seconds, double now) {
  // What comes after the checkpoint: closing files, ending MPI, the queue's own clock.
  return {now + seconds, std::clamp(0.02 * seconds, 1.0, 60.0)};
}

Deadline Deadline::of_queue(const Environment& environment, double now) {
  const auto end = environment.number("SLURM_JOB_END_TIME");
  return end ? after(double(*end) - now, now) : never();
}

bool Deadline::too_late_for(double seconds, double now) const {
  return end && now + seconds + margin > *end;
}

std::optional<std::string> stop_agreed(Cluster& cluster, const StopSignals& signals, const Deadline& deadline,
                                       double seconds_needed) {
  // One number says what, in its upper part (signals above the clock), and which rank, in its lower: the
  // first rank wins.
  constexpr std::int64_t lower_part = std::int64_t{1} << 32, time_limit = 1;
  std::int64_t wish = deadline.too_late_for(seconds_needed) ? time_limit : 0;
  if (signals.caught() != 0) wish = time_limit + signals.caught();
  const std::int64_t own = wish == 0 ? 0 : (wish + 1) * lower_part - 1 - cluster.rank();
  const std::int64_t agreed = cluster.all_reduce("stop?", own, Reduction::max);
  if (agreed == 0) return std::nullopt;
  const std::int64_t what = agreed / lower_part, rank = lower_part - 1 - agreed % lower_part;
  if (what == time_limit) return "time limit";
  for (const Handled& handled : kHandled)
    if (handled.signal == what - time_limit) return fmt::format("{} on rank {}", handled.name, rank);
  throw std::logic_error("stop_agreed: unknown signal");
}

}  // namespace moebius::cluster
