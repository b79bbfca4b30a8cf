#include "models/memory.h"

#include <algorithm>
#include <cmath>

#include "layers/lm_head.h"
#include "models/models.h"

namespace moebius::models {
namespace {

constexpr std::int64_t kFloat = 4, kInt = 4;  // bytes

/// One allocation: arenas hand out multiples of 64 bytes, at least one.
std::int64_t room(std::int64_t count, std::int64_t element = kFloat) {
  return round_up(std::max<std::int64_t>(count * element, 1), 64);
}

/// A rank's extents, and what each part of a decoder allocates with them, in the order of the code.
class Extents {
 public:
  Extents(const ModelConfig& config, const Mesh& mesh, const MicroBatchShape& shape)
      : config_(config),
        tensor_(mesh.degree(Axis::tensor)),
        expert_(mesh.degree(Axis::expert)),
        tokens_(std::max(round_up(shape.tokens, tensor_), tensor_)),
        here_(tokens_ / tensor_),
        targets_(shape.targets),
        local_vocab_(divide_up(config.vocab, tensor_)),
        q_(config.heads / tensor_ * config.head_dim),
        qk_((config.heads + config.kv_heads) / tensor_ * config.head_dim),
        qkv_((config.heads + 2 * config.kv_heads) / tensor_ * config.head_dim),
        width_(config.dense_width / tensor_),
        sent_(std::min(here_, shape.tokens) * config.top_k),
        received_(expert_ == 1 ? sent_ : std::int64_t(std::ceil(double(sent_) * shape.expert_load))) {}

  [[nodiscard]] std::int64_t stream() const { return room(here_ * config_.hidden); }
  [[nodiscard]] std::int64_t norm() const { return stream() + room(here_); }

  [[nodiscard]] std::int64_t attention_saved() const {
    const std::int64_t heads = config_.heads / tensor_, all_heads = heads + config_.kv_heads / tensor_;
    const std::int64_t normed = config_.qk_norm ? room(tokens_ * qk_) + room(tokens_ * all_heads) : 0;
    return room(tokens_ * qkv_) + normed + room(tokens_ * q_) + room(heads * tokens_);
  }
  [[nodiscard]] std::int64_t dense_saved() const {
    return room(tokens_ * 2 * width_) + room(tokens_ * width_);
  }
  [[nodiscard]] std::int64_t moe_saved() const {
    const std::int64_t experts = config_.experts, width = config_.expert_width;
    const std::int64_t router =
        room(here_ * experts) + room(here_) + room(here_ * config_.top_k, kInt) + room(2 * experts + 1);
    const std::int64_t plan = room(experts + 1, kInt) + 2 * room(here_ * config_.top_k, kInt);
    const std::int64_t dispatch =
        expert_ == 1 ? 0 : room(experts / expert_ + 1, kInt) + 2 * room(received_, kInt);
    return router + plan + dispatch + room(received_ * config_.hidden) + room(received_) +
           room(received_ * 2 * width) + room(received_ * width);
  }
  [[nodiscard]] std::int64_t mlp_saved(bool is_moe) const { return is_moe ? moe_saved() : dense_saved(); }

  /// All tokens, gathered from the tensor ranks or to be summed over them.
  [[nodiscard]] std::int64_t whole() const { return tensor_ == 1 ? 0 : room(tokens_ * config_.hidden); }

  [[nodiscard]] std::int64_t dense_forward() const { return 2 * whole(); }
  [[nodiscard]] std::int64_t moe_forward() const {
    const std::int64_t routing =
        room(here_ * config_.top_k) + room(config_.experts, kInt) + room(here_ * config_.top_k, kInt);
    if (expert_ == 1) return routing + room(received_ * config_.hidden);
    const std::int64_t sent = room(sent_ * config_.hidden) + room(sent_);
    return routing + sent + std::max(regrouped(), room(received_ * config_.hidden) + brought_back());
  }
  [[nodiscard]] std::int64_t attention_backward() const {
    return 3 * whole() + room(tokens_ * q_) + room(tokens_ * qkv_);
  }
  [[nodiscard]] std::int64_t dense_backward() const {
    return 3 * whole() + room(tokens_ * width_) + room(tokens_ * 2 * width_);
  }
  [[nodiscard]] std::int64_t moe_backward() const {
    const std::int64_t width = config_.expert_width, top_k = config_.top_k;
    const std::int64_t experts = room(received_ * width) + room(received_ * 2 * width);
    const std::int64_t router = room(config_.experts) + room(here_ * config_.experts);
    const std::int64_t rows = room(sent_ * config_.hidden);
    const std::int64_t dweights = room(here_ * top_k);
    if (expert_ == 1) return rows + room(received_) + std::max(experts, dweights + router);
    const std::int64_t arrived = room(received_ * config_.hidden);
    const std::int64_t back = room(sent_ * config_.hidden) + dweights + room(sent_);
    const std::int64_t after = std::max({experts, brought_back(), back + std::max(router, room(received_))});
    return rows + arrived + std::max(regrouped(), room(received_) + after);
  }
  [[nodiscard]] std::int64_t head(bool with_gradient) const {
    const std::int64_t chunk = std::min(layers::LmHead<HostFp32>::chunk_targets(local_vocab_), targets_);
    const std::int64_t rows = room(2 * chunk) + room(chunk * config_.hidden) + room(chunk * local_vocab_) +
                              room(chunk) + (tensor_ == 1 ? 0 : room(chunk));
    const std::int64_t dx = with_gradient ? room(targets_ * config_.hidden) : 0;
    const std::int64_t after = with_gradient ? whole() : 0;
    return whole() + dx + std::max(chunk == 0 ? 0 : rows, after);
  }
  [[nodiscard]] std::int64_t embedding() const { return whole(); }

 private:
  /// Rows between their order on arrival and the order of the experts; none where these are the same.
  [[nodiscard]] std::int64_t regrouped() const {
    return config_.experts == expert_ ? 0 : room(received_ * config_.hidden);
  }
  [[nodiscard]] std::int64_t brought_back() const { return room(sent_ * config_.hidden) + regrouped(); }

  const ModelConfig& config_;
  std::int64_t tensor_, expert_, tokens_, here_, targets_, local_vocab_;
  std::int64_t q_, qk_, qkv_, width_, sent_, received_;
};

ModelMemory fixed_memory(const ModelConfig& config, const Mesh& mesh, std::int64_t longest) {
  const std::int64_t elements = ShardLayout(parameter_table(config), mesh).size();
  return {.weights = room(elements), .tables = 2 * room(longest * config.head_dim / 2)};
}

}  // namespace

ModelMemory training_memory(const ModelConfig& config, const Mesh& mesh, const MicroBatchShape& shape,
                            std::int64_t longest) {
  const Extents of(config, mesh, shape);
  ModelMemory memory = fixed_memory(config, mesh, longest);
  memory.gradients = memory.weights;
  memory.moments = 2 * memory.weights;
  // Embedding, the last norm's sum and the gradient in the hidden states; the last norm; log-probabilities.
  memory.activations = 3 * of.stream() + of.norm() + room(shape.targets);
  std::int64_t forward = of.embedding(), backward = of.embedding();
  for (std::size_t n = 0; n < config.is_moe_layer.size(); ++n) {
    const bool is_moe = config.is_moe_layer[n];
    memory.activations +=
        (n == 0 ? 1 : 2) * of.stream() + 2 * of.norm() + of.attention_saved() + of.mlp_saved(is_moe);
    forward = std::max({forward, of.whole(), is_moe ? of.moe_forward() : of.dense_forward()});
    backward =
        std::max({backward, of.attention_backward(), is_moe ? of.moe_backward() : of.dense_backward()});
  }
  memory.workspace = std::max(of.stream() + std::max(forward, backward), of.head(true));
  return memory;
}

ModelMemory scoring_memory(const ModelConfig& config, const Mesh& mesh, const MicroBatchShape& shape,
                           std::int64_t longest) {
  const Extents of(config, mesh, shape);
  ModelMemory memory = fixed_memory(config, mesh, longest);
  std::int64_t layer = of.norm(), forward = of.embedding();  // the last norm stands after the layers
  for (const bool is_moe : config.is_moe_layer) {
    layer = std::max(layer, 2 * of.norm() + of.attention_saved() + of.mlp_saved(is_moe));
    forward = std::max({forward, of.whole(), is_moe ? of.moe_forward() : of.dense_forward()});
  }
  memory.activations = of.stream() + std::max(layer, of.norm() + room(shape.targets));
  memory.workspace = std::max(of.stream() + forward, of.head(false));
  return memory;
}

}  // namespace moebius::models
