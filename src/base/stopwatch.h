#pragma once
#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moebius {

/// Seconds spent by name, in the order in which the names were first used.
class PhaseTimes {
 public:
  void add(std::string_view phase, double seconds) {
    for (auto& [name, total] : totals_) {
      if (name == phase) {
        total += seconds;
        return;
      }
    }
    totals_.emplace_back(phase, seconds);
  }
  [[nodiscard]] const std::vector<std::pair<std::string, double>>& totals() const { return totals_; }
  void clear() { totals_.clear(); }

 private:
  std::vector<std::pair<std::string, double>> totals_;
};

/// Seconds since it was made.
class Stopwatch {
 public:
  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// Adds the time of its block to a phase.
class [[nodiscard]] Timed {
 public:
  Timed(PhaseTimes& times, std::string_view phase) : times_(times), phase_(phase) {}
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;
  ~Timed() { times_.add(phase_, watch_.seconds()); }

 private:
  PhaseTimes& times_;
  std::string_view phase_;
  Stopwatch watch_;
};

}  // namespace moebius
