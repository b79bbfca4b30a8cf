#include "optimizer/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace moebius::optimizer {

double learning_rate(const Schedule& schedule, std::int64_t iteration) {
  const double warmup = schedule.warmup_fraction * double(schedule.iterations);
  if (double(iteration) < warmup) return schedule.peak * double(iteration) / warmup;

  const double left = double(schedule.iterations) - warmup;
  const double done = left > 0 ? std::min(1.0, (double(iteration) - warmup) / left) : 1.0;
  const double span = schedule.peak - schedule.lowest;
  switch (schedule.decline) {
    case Decline::cosine: return schedule.lowest + span * (1 + std::cos(std::numbers::pi * done)) / 2;
    case Decline::linear: return schedule.peak - span * done;
    case Decline::constant: return schedule.peak;
  }
  return schedule.peak;
}

}  // namespace moebius::optimizer
