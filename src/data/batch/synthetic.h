#pragma once
#include "data/batch/sample.h"

namespace moebius::data {

/// "synthetic#N": N samples of uniformly random tokens, all trained, to measure with. Sample i is a function
/// of the seed and i. Two sequences a sample make pairs.
class SyntheticSamples : public SampleSource {
 public:
  struct Shape {
    std::int64_t count, length, vocab;  // length: of a sequence
    std::int64_t sequences = 1;         // of a sample
  };
  SyntheticSamples(const Shape& shape, std::int64_t seed) : shape_(shape), seed_(seed) {}

  [[nodiscard]] std::int64_t count() const override { return shape_.count; }
  [[nodiscard]] std::int64_t length(std::int64_t) const override { return shape_.sequences * shape_.length; }
  void read(std::int64_t index, Sample& sample) const override;

 private:
  Shape shape_;
  std::int64_t seed_;
};

}  // namespace moebius::data
