#include "data/batch/synthetic.h"

#include "tensor/random.h"

namespace moebius::data {

void SyntheticSamples::read(std::int64_t index, Sample& sample) const {
  const Random random{std::uint64_t(seed_), RandomStream::synthetic};
  sample.ids.resize(std::size_t(shape_.length));
  for (std::int64_t i = 0; i < shape_.length; ++i) {
    const auto draw = std::uint64_t(index) * std::uint64_t(shape_.length) + std::uint64_t(i);
    sample.ids[std::size_t(i)] = std::int32_t(random.below(std::uint64_t(shape_.vocab), draw));
  }
  sample.labels = sample.ids;
  if (!sample.labels.empty()) sample.labels[0] = kNotTrained;
  sample.loss_scale.clear();
}

}  // namespace moebius::data
