#pragma once
#include <memory>
#include <vector>

#include "data/batch/packing.h"
#include "data/batch/sample.h"
#include "data/batch/sampling.h"

namespace moebius::data {

/// One micro batch as the model takes it: sequences end to end, each its own attention span and positions. A
/// sample is one sequence, a pair two: chosen, then rejected.
struct MicroBatch {
  std::vector<std::int32_t> ids, positions;  // [tokens]; positions restart at 0 in every sequence
  std::vector<std::int32_t> targets;         // [tokens]; the token to predict after this one, or kNotTrained
  std::vector<float> loss_scale;             // [tokens]; of the target
  std::vector<std::int32_t> starts{0};       // [sequences + 1]; first token of each, then the end
  std::vector<std::int64_t> samples;         // their numbers in their source, where they have one
  std::int64_t number = 0;                   // of its first pack among all that the training takes
  std::int64_t pairs = 0;  // sequences 2 p and 2 p + 1 are pair p; all samples are pairs, or none is

  [[nodiscard]] std::int64_t tokens() const { return std::int64_t(ids.size()); }
  [[nodiscard]] std::int64_t sequences() const { return std::int64_t(starts.size()) - 1; }
  [[nodiscard]] std::int64_t trained() const;
  /// Trained tokens of the chosen answers.
  [[nodiscard]] std::int64_t trained_chosen() const;
  /// Lays one more sample behind the others.
  void append(const SampleView& sample);
};

/// Several sources as one, in order.
class JoinedSamples : public SampleSource {
 public:
  void add(std::unique_ptr<SampleSource> source);
  [[nodiscard]] std::int64_t count() const override { return count_; }
  [[nodiscard]] std::int64_t length(std::int64_t index) const override;
  void read(std::int64_t index, Sample& sample) const override;

 private:
  struct Member {
    std::int64_t begin;
    std::unique_ptr<SampleSource> source;
  };
  [[nodiscard]] const Member& member_of(std::int64_t index) const;

  std::vector<Member> members_;
  std::int64_t count_ = 0;
};

struct BatchSizes {
  std::int64_t micro = 1, global = 1;  // packs
};

/// Which packs make up each global batch: epoch after epoch without a gap, every epoch in an order of its
/// own. A pure function of the seed and of the position, the packs taken before over all epochs; so resuming
/// needs nothing but that number, and the mesh changes nothing.
class Batches {
 public:
  struct Settings {
    BatchSizes sizes;
    Order order = Order::shuffled;
    std::int64_t seed = 0;
  };
  Batches(const SampleSource& samples, Packs packs, const Settings& settings)
      : samples_(samples), packs_(std::move(packs)), settings_(settings) {}

  [[nodiscard]] std::int64_t packs() const { return packs_.count(); }
  /// Whole global batches from `position` to the end of `epochs` passes over the packs.
  [[nodiscard]] std::int64_t iterations(double epochs, std::int64_t position) const;
  [[nodiscard]] std::int64_t micro_batches() const;  // in a global batch
  /// Micro batch `index` of the global batch that begins at `position`.
  [[nodiscard]] MicroBatch micro_batch(std::int64_t position, std::int64_t index);
  /// One pass over all packs for evaluation, in order: micro batch `index`; empty behind the last pack.
  [[nodiscard]] MicroBatch pass(std::int64_t index) const;
  [[nodiscard]] std::int64_t pass_length() const;  // micro batches in a pass

 private:
  void append_pack(std::int64_t pack, MicroBatch& batch) const;
  [[nodiscard]] std::int64_t pack_at(std::int64_t position);

  const SampleSource& samples_;
  Packs packs_;
  Settings settings_;
  std::int64_t epoch_ = -1;  // whose order `epoch_order_` is
  std::vector<std::int64_t> epoch_order_;
};

}  // namespace moebius::data
