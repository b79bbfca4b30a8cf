#pragma once
#include <cstdint>
#include <vector>

#include "data/batch/batches.h"
#include "models/decoder/decoder.h"

namespace moebius::objectives {

/// What one micro batch gave; the same on its tensor ranks. Sums over micro batches and data ranks are those
/// of the batch.
struct MicroResult {
  double loss_sum = 0;  // of loss_scale * token loss over the trained tokens
  models::RouterTotals routers;
};

/// The same while it may still be on its way to host memory.
struct QueuedResult {
  std::vector<float> scale;                             // [targets]
  View<const float, 1, Space::host> log_probabilities;  // [targets]
  View<const float, 2, Space::host> router_statistics;  // see Decoder; empty: not asked
  std::int64_t real_tokens = 0;
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
  Sft(models::Decoder<P>& decoder, std::int64_t tensor_degree)
      : decoder_(decoder), tensor_degree_(tensor_degree) {}

  /// Queues forward and backward, which write or add to `gradients`. An empty micro batch takes part in all
  /// exchanges. What is returned lies in the decoder's staging memory.
  [[nodiscard]] QueuedResult accumulate(const data::MicroBatch& batch, const Share& share,
                                        const models::WeightGradients<P>& gradients);
  /// Queues forward only.
  [[nodiscard]] QueuedResult evaluate(const data::MicroBatch& batch);
  /// When the caller has waited for the queue.
  [[nodiscard]] MicroResult result(const QueuedResult& queued) const;

 private:
  [[nodiscard]] View<const float, 1, Space::host> to_host(View<const float, 1, kSpace> values);

  models::Decoder<P>& decoder_;
  std::int64_t tensor_degree_;
};

}  // namespace moebius::objectives
