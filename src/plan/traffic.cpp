#include "plan/traffic.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"
#include "models/models.h"
#include "models/ownership.h"
#include "optimizer/gradient_sum.h"
#include "parallel/exchange_mpi.h"

namespace moebius::plan {
namespace {

using cluster::Axis;
using models::Recompute;

/// Adds up what a step sends, kind by kind, in the order of the computation.
class Counter {
 public:
  explicit Counter(const TrafficQuestion& question) : of_(question), config_(question.config) {}

  AxisBytes count() {
    const models::Stages& stages = of_.format.stage.stages;
    const std::int64_t stage = index(Axis::pipeline);
    for (std::int64_t chunk = 0; chunk < stages.chunks(); ++chunk) {
      const bool is_first = stages.is_first(stage, chunk), is_last = stages.is_last(stage, chunk);
      const Range layers = stages.layers(stage, chunk);
      const std::int64_t table_passes = of_.format.adapter ? 1 : 2;  // backward, where the table learns
      if (is_first) add(Axis::tensor, table_passes * of_.micro_batches * all_tokens());
      for (std::int64_t n = layers.begin; n < std::min(layers.end, config_.layers); ++n) layer(n);
      if (is_last) head();
      const std::int64_t streams = (is_first ? 0 : 1) + (is_last ? 0 : 1);
      add(Axis::pipeline, streams * of_.micro_batches * stream());
    }
    optimizer();
    numbers();
    return bytes_;
  }

 private:
  [[nodiscard]] std::int64_t degree(Axis axis) const { return of_.mesh.degree(axis); }
  [[nodiscard]] std::int64_t index(Axis axis) const { return of_.mesh.index(axis); }
  void add(Axis axis, std::int64_t bytes) {
    if (degree(axis) > 1) bytes_[std::size_t(axis)] += bytes;
  }

  /// Of all_reduce over `count` elements, cut as the exchange over MPI cuts it.
  [[nodiscard]] std::int64_t sum(Axis axis, std::int64_t count, std::int64_t element) const {
    const parallel::MpiLimits limits;
    const std::int64_t others = degree(axis) - 1;
    if (count * element <= limits.small_bytes) return others * count * element;
    std::int64_t sent = 0;
    for (std::int64_t begin = 0; begin < count; begin += limits.segment_bytes / element) {
      const std::int64_t segment = std::min(limits.segment_bytes / element, count - begin);
      const std::int64_t own = balanced_part(segment, degree(axis), index(axis)).size();
      sent += segment - own + others * own;
    }
    return sent * element;
  }

  /// A rank's tokens between blocks.
  [[nodiscard]] std::int64_t stream() const {
    return of_.format.storage * config_.hidden * of_.tokens / degree(Axis::tensor);
  }
  /// To gather all tokens of the tensor ranks, or to scatter their sums.
  [[nodiscard]] std::int64_t all_tokens() const { return (degree(Axis::tensor) - 1) * stream(); }

  void layer(std::int64_t n) {
    const bool again = of_.format.recompute == Recompute::full;
    const bool is_moe = config_.is_moe_layer[std::size_t(n)];
    for (std::int64_t pass = 0; pass < (again ? 2 : 1); ++pass) {
      add(Axis::tensor, of_.micro_batches * 2 * all_tokens());
      add(Axis::context, of_.micro_batches * (degree(Axis::context) - 1) * keys(of_.format.storage));
      is_moe ? experts_forward() : add(Axis::tensor, of_.micro_batches * 2 * all_tokens());
    }
    if (of_.format.recompute == Recompute::selective)
      is_moe ? dispatch(token_bytes()) : add(Axis::tensor, of_.micro_batches * all_tokens());
    add(Axis::tensor, of_.micro_batches * 3 * all_tokens());
    add(Axis::context, of_.micro_batches * ((degree(Axis::context) - 1) * keys(of_.format.storage) +
                                            degree(Axis::context) * keys(4)));
    is_moe ? experts_backward() : add(Axis::tensor, of_.micro_batches * 3 * all_tokens());
  }

  /// Keys and values of the tokens here, in elements of `bytes`.
  [[nodiscard]] std::int64_t keys(std::int64_t bytes) const {
    return bytes * 2 * of_.tokens * (config_.kv_heads / degree(Axis::tensor)) * config_.head_dim;
  }

  [[nodiscard]] std::int64_t token_bytes() const { return of_.format.storage * config_.hidden; }
  [[nodiscard]] std::int64_t choice_bytes() const { return 4 * config_.top_k; }  // an id, a weight each

  void experts_forward() {
    add(Axis::tensor_context,
        of_.micro_batches * sum(Axis::tensor_context, 2 * config_.experts + 1, sizeof(float)));
    if (degree(Axis::expert) == 1 && degree(Axis::expert_tensor) == 1) return;
    const std::int64_t parts = of_.format.overlap == layers::Overlap::halves ? 2 : 1;
    for (const Axis axis : {Axis::expert, Axis::expert_tensor})
      add(axis, of_.micro_batches * parts * 16 * (degree(axis) - 1));
    const bool numbers_tokens = of_.format.adapter && of_.format.adapter->dropout > 0;
    dispatch(2 * choice_bytes() + token_bytes() + (numbers_tokens ? 8 : 0));
    combine(token_bytes());
  }
  void experts_backward() {
    dispatch(token_bytes());
    combine(token_bytes() + choice_bytes());
  }
  void dispatch(std::int64_t row_bytes) {
    add(Axis::expert, of_.micro_batches * of_.rows.leaving * row_bytes);
    add(Axis::expert_tensor,
        of_.micro_batches * (degree(Axis::expert_tensor) - 1) * of_.rows.block * row_bytes);
  }
  void combine(std::int64_t row_bytes) {
    add(Axis::expert, of_.micro_batches * of_.rows.arriving * row_bytes);
    add(Axis::expert_tensor,
        of_.micro_batches * (degree(Axis::expert_tensor) - 1) * of_.rows.block * row_bytes);
  }

  void head() {
    std::int64_t sums = 0;
    const std::int64_t vocab = balanced_part(config_.vocab, degree(Axis::tensor), index(Axis::tensor)).size();
    const std::int64_t longest = models::head_targets(of_.format, vocab);
    for (std::int64_t begin = 0; begin < of_.targets; begin += longest) {
      const std::int64_t targets = std::min(longest, of_.targets - begin);
      sums += sum(Axis::tensor, targets, sizeof(float)) + sum(Axis::tensor, 2 * targets, sizeof(float));
    }
    add(Axis::tensor, of_.micro_batches * (2 * all_tokens() + sums));
  }

  void optimizer() {
    models::ParameterTable table = models::parameter_table(config_);
    if (of_.format.adapter) table = models::adapter_table(table, *of_.format.adapter);
    const models::ShardLayout layout(std::move(table), of_.mesh, of_.format.stage.stages);
    const models::Ownership ownership(layout, of_.mesh);
    for (const auto& [axis, elements, own, place] : ownership.buckets())
      add(axis, (degree(axis) - 1) * own.size() * (of_.format.gradient + of_.format.storage));
    for (const auto& [axis, elements] : optimizer::sum_messages(ownership))
      add(axis, sum(axis, elements, of_.format.gradient));
  }

  /// Numbers of the host that all ranks get.
  void numbers() {
    const std::int64_t balance = std::ranges::count(config_.is_moe_layer, true) * config_.experts;
    const bool is_last = of_.mesh.index(Axis::pipeline) == degree(Axis::pipeline) - 1;  // knows the loss
    if (is_last) add(Axis::context, 8 * (degree(Axis::context) - 1));
    add(Axis::pipeline, 8 * (degree(Axis::pipeline) - 1) * (3 + balance));
    add(Axis::data, 8 * (degree(Axis::data) - 1) * (5 + 3 + balance));
    add(Axis::world, 8 * (degree(Axis::world) - 1));
  }

  const TrafficQuestion& of_;
  const models::ModelConfig& config_;
  AxisBytes bytes_{};
};

}  // namespace

AxisBytes step_traffic(const TrafficQuestion& question) {
  return Counter(question).count();
}

std::string traffic_text(const AxisBytes& bytes) {
  std::vector<std::string> parts;
  for (std::size_t axis = 0; axis < bytes.size(); ++axis) {
    if (bytes[axis] > 0) parts.push_back(fmt::format("{} {}", cluster::name_of(Axis(axis)), bytes[axis]));
  }
  return parts.empty() ? "nothing" : join(parts);
}

}  // namespace moebius::plan
