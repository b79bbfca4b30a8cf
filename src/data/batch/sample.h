#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace moebius::data {

/// The label of a position that is not trained.
inline constexpr std::int32_t kNotTrained = -100;

/// One encoded sample, owned by somebody else. labels[i] is the token to predict at position i from those
/// before it. A pair of answers is one sample: the chosen one, and behind it the rejected one, each with its
/// prompt.
struct SampleView {
  std::span<const std::int32_t> ids;
  std::span<const std::int32_t> labels;  // as long as ids
  std::span<const float> loss_scale;     // as long as ids, or empty: 1 throughout
  std::int64_t rejected_begin = 0;       // of a pair: its first token that belongs to the rejected answer

  [[nodiscard]] bool is_pair() const { return rejected_begin > 0; }
  /// Tokens begin .. end - 1.
  [[nodiscard]] SampleView slice(std::int64_t begin, std::int64_t end) const;
  /// What the model sees one by one: the sample, or both sides of a pair.
  [[nodiscard]] std::vector<SampleView> sequences() const;
};

/// The same, owned.
struct Sample {
  std::vector<std::int32_t> ids, labels;
  std::vector<float> loss_scale;
  std::int64_t rejected_begin = 0;
  [[nodiscard]] SampleView view() const { return {ids, labels, loss_scale, rejected_begin}; }
};

/// Positions of a sample that are trained: label given and not the first of its sequence, which nothing
/// predicts.
[[nodiscard]] std::int64_t trained_count(const SampleView& sample);

/// Something that holds samples by number, in a fixed order: a store on disk, or random tokens.
class SampleSource {
 public:
  virtual ~SampleSource() = default;
  [[nodiscard]] virtual std::int64_t count() const = 0;
  [[nodiscard]] virtual std::int64_t length(std::int64_t index) const = 0;  // tokens
  /// Appends nothing and keeps nothing: overwrites `sample`.
  virtual void read(std::int64_t index, Sample& sample) const = 0;
};

}  // namespace moebius::data
