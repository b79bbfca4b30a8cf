#include "data/batch/synthetic.h"

#include "tensor/random.h"

namespace moebius::data {

void SyntheticSamples::read(std::int64_t index, Sample& sample) const {
  const Random random{std::uint64_t(seed_), RandomStream::synthetic};
  const std::int64_t tokens = length(index);
  sample.ids.resize(std::size_t(tokens));
  for (std::int64_t i = 0; i < tokens; ++i) {
    const auto draw = std::uint64_t(index) * std::uint64_t(tokens) + std::uint64_t(i);
    sample.ids[std::size_t(i)] = std::int32_t(random.below(std::uint64_t(shape_.vocab), draw));
  }
  sample.labels = sample.ids;
  for (std::int64_t begin = 0; begin < tokens; begin += shape_.length)
    sample.labels[std::size_t(begin)] = kNotTrained;
  sample.loss_scale.clear();
  sample.rejected_begin = shape_.sequences > 1 ? shape_.length : 0;
}

}  // namespace moebius::data
