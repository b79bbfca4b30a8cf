#include "data/batch/sample.h"

#include <algorithm>

namespace moebius::data {

SampleView SampleView::slice(std::int64_t begin, std::int64_t end) const {
  const auto first = std::size_t(begin), count = std::size_t(end - begin);
  return {.ids = ids.subspan(first, count),
          .labels = labels.subspan(first, count),
          .loss_scale = loss_scale.empty() ? loss_scale : loss_scale.subspan(first, count)};
}

std::vector<SampleView> SampleView::sequences() const {
  if (!is_pair()) return {*this};
  return {slice(0, rejected_begin), slice(rejected_begin, std::int64_t(ids.size()))};
}

std::int64_t trained_count(const SampleView& sample) {
  std::int64_t count = 0;
  for (const SampleView& sequence : sample.sequences()) {
    const auto untrained = std::ranges::count(sequence.labels, kNotTrained);
    const bool first_counts = !sequence.labels.empty() && sequence.labels.front() != kNotTrained;
    count += std::int64_t(sequence.labels.size()) - untrained - (first_counts ? 1 : 0);
  }
  return count;
}

}  // namespace moebius::data
