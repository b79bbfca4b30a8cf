#pragma once
#include <cstdint>

#include "base/stopwatch.h"
#include "data/batch/batches.h"
#include "models/decoder/decoder.h"

namespace moebius::objectives {

/// What one micro batch gave; the same on its tensor ranks. Sums over micro batches and data ranks are those
/// of the batch.
struct MicroResult {
  double loss_sum = 0;  // of loss_scale * token loss over the trained tokens
  models::RouterTotals routers;
};

/// Supervised fine-tuning. The loss of a global batch is
///
///   sum over trained tokens of loss_scale * -log p(token) / number of trained tokens + the auxiliary losses,
///
/// whatever the micro batches and the mesh: gradients carry the division from the start, so that they are
/// plain sums.
template <Platform P>
class Sft {
 public:
  static constexpr Space kSpace = P::kSpace;

  /// Of the global batch that a micro batch belongs to.
  struct Share {
    std::int64_t trained_tokens = 0;
    layers::AuxCoefficients coefficients;  // divided by the number of micro batches
  };
  Sft(models::Decoder<P>& decoder, std::int64_t tensor_degree, PhaseTimes& times)
      : decoder_(decoder), tensor_degree_(tensor_degree), times_(times) {}

  /// Forward and backward; adds to `gradients`. An empty micro batch takes part in all exchanges.
  MicroResult accumulate(const data::MicroBatch& batch, const Share& share,
                         const models::Shards<float, kSpace>& gradients);
  /// Forward only.
  MicroResult evaluate(const data::MicroBatch& batch);

 private:
  models::Decoder<P>& decoder_;
  std::int64_t tensor_degree_;
  PhaseTimes& times_;
};

}  // namespace moebius::objectives
