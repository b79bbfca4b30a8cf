#pragma once
#include <cstdint>

#include "base/log.h"
#include "training/metrics.h"

namespace moebius::training {

enum class ProgressStyle : std::uint8_t { bar, lines };

/// Tells a person how far the run is: a bar that rewrites itself on a terminal, a line every `interval`
/// iterations in a log.
class Progress {
 public:
  struct Settings {
    ProgressStyle style = ProgressStyle::lines;
    std::int64_t iterations = 0;  // of the whole run
    std::int64_t interval = 1;
  };
  Progress(const Log& log, const Settings& settings) : log_(log), settings_(settings) {}
  /// Speaks of the iteration just done; `seconds` is how long it took, evaluation and saving included.
  void report(const Metrics& metrics, double seconds);
  /// Ends the bar's line.
  void finish() const;

 private:
  const Log& log_;
  Settings settings_;
  double smoothed_seconds_ = 0;  // of an iteration: a running mean, for the time left
};

/// "iteration 5/200  loss 2.3456  grad_norm 1.2  lr 1e-05 ...": the line of a log file.
[[nodiscard]] std::string progress_line(const Metrics& metrics, std::int64_t iterations, double seconds_left);
/// "[=====>    ] 50% ...", `width` characters of bar.
[[nodiscard]] std::string progress_bar(const Metrics& metrics, std::int64_t iterations, double seconds_left,
                                       int width);

}  // namespace moebius::training
