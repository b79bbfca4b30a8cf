#include "data/batch/sample.h"

namespace moebius::data {

std::int64_t trained_count(const SampleView& sample) {
  std::int64_t count = 0;
  for (std::size_t i = 1; i < sample.labels.size(); ++i) count += sample.labels[i] != kNotTrained ? 1 : 0;
  return count;
}

}  // namespace moebius::data
