#pragma once
#include <cstdint>
#include <vector>

#include "base/math.h"
#include "models/config.h"

namespace moebius::models {

/// Where the computation uses a weight: what decides which pipeline stages hold it.
struct Site {
  enum class Kind : std::uint8_t {
    layer,
    embedding,  // before the first layer
    head,       // behind the last one
    both_ends   // an embedding table that is the output projection too
  } kind = Kind::layer;
  std::int64_t layer = 0;  // of Kind::layer
};

/// Which layers each pipeline stage has: `chunks` ranges of them, the ranges of all stages in turns. Range
/// c * pipeline + s is chunk c of stage s (parallel/pipeline/schedule.h).
class Stages {
 public:
  /// Everything on one stage.
  Stages() = default;
  /// `layers`: [chunks * pipeline], in a row from 0 on.
  Stages(std::int64_t pipeline, std::vector<Range> layers);

  [[nodiscard]] std::int64_t pipeline() const { return pipeline_; }
  [[nodiscard]] std::int64_t chunks() const { return std::int64_t(layers_.size()) / pipeline_; }
  [[nodiscard]] Range layers(std::int64_t stage, std::int64_t chunk) const {
    return layers_[std::size_t(chunk * pipeline_ + stage)];
  }
  /// Whether the chunk begins with the embedding; whether it ends with the output head.
  [[nodiscard]] bool is_first(std::int64_t stage, std::int64_t chunk) const {
    return stage == 0 && chunk == 0;
  }
  [[nodiscard]] bool is_last(std::int64_t stage, std::int64_t chunk) const {
    return stage == pipeline_ - 1 && chunk == chunks() - 1;
  }
  [[nodiscard]] bool holds(std::int64_t stage, const Site& site) const;

 private:
  static constexpr std::int64_t kAny = std::int64_t{1} << 40;
  std::int64_t pipeline_ = 1;
  std::vector<Range> layers_{{0, kAny}};
};

/// The layers of a model over `pipeline` stages of `chunks` chunks each, so that the dearest chunk costs as
/// little as possible, and then all are as even as possible. Costs are FLOPs a token at 4096 tokens a sample;
/// the output head counts, on the last chunk. Every chunk has a layer: throws std::logic_error where there
/// are not as many.
[[nodiscard]] Stages stages_of(const ModelConfig& config, std::int64_t pipeline, std::int64_t chunks = 1);

/// Multiplications a token, forward.
struct ChunkCost {
  double layers = 0, head = 0;
};
[[nodiscard]] ChunkCost cost_of(const ModelConfig& config, const Stages& stages, std::int64_t stage,
                                std::int64_t chunk);

}  // namespace moebius::models
