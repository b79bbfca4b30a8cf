#pragma once
#include <algorithm>

#include "kernels/attention/attention.h"
#include "layers/layers.h"
#include "models/batch.h"
#include "models/memory_adapter.h"
#include "models/memory_experts.h"

namespace moebius::models {

inline constexpr std::int64_t kFloat = 4, kInt = 4;  // bytes

// How device twins cut their work, for the partial sums that they keep in scratch memory.
inline constexpr std::int64_t kMultiprocessors = 132;                    // of H100 and H200
inline constexpr std::int64_t kNormBlocks = 3;                           // on each, kernels/norm/rmsnorm.cu
inline constexpr std::int64_t kBiasRows = 256;                           // kernels/dense/bias.cu
inline constexpr std::int64_t kRouterRows = 32;                          // kernels/moe/router.cu
inline constexpr std::int64_t kProductScratch = std::int64_t{64} << 20;  // kernels/dense/device/blas.cpp

/// What a layer consists of.
struct LayerShape {
  bool is_moe;
  LayerAdapter adapter;
};

/// A rank's extents, and what each part of a decoder allocates with them, in the order of the code.
class Extents {
 public:
  Extents(const ModelConfig& config, const Mesh& mesh, const MicroBatchShape& shape,
          const MemoryFormat& format)
      : config_(config),
        format_(format),
        rooms_{format.space, format.storage},
        adapter_(adapter_rooms(rooms_, format.adapter)),
        tensor_(mesh.degree(Axis::tensor)),
        context_(mesh.degree(Axis::context)),
        real_(ContextChunks::most_tokens(shape.tokens, context_)),
        tokens_(padded(real_, format.space, tensor_)),
        here_(tokens_ / tensor_),
        targets_(std::min(shape.targets, real_)),
        numbers_(shape.numbers_a_target),
        local_vocab_(divide_up(config.vocab, tensor_)),
        q_(config.heads / tensor_ * config.head_dim),
        kv_(config.kv_heads / tensor_ * config.head_dim),
        width_(config.dense_width / tensor_),
        experts_(config, mesh, {here_, std::min(here_, real_)}, shape, format) {}

  [[nodiscard]] std::int64_t room(std::int64_t count, std::int64_t element) const {
    return rooms_.room(count, element);
  }
  [[nodiscard]] std::int64_t stored(std::int64_t count) const { return rooms_.stored(count); }
  [[nodiscard]] std::int64_t floats(std::int64_t count) const { return rooms_.floats(count); }
  [[nodiscard]] std::int64_t ints(std::int64_t count) const { return rooms_.ints(count); }

  [[nodiscard]] std::int64_t stream() const { return stored(here_ * config_.hidden); }

  // Of a layer's Saved, what stays and what can be remade.
  [[nodiscard]] std::int64_t norm_kept() const { return floats(here_); }
  [[nodiscard]] std::int64_t norm_remade() const { return stream(); }
  [[nodiscard]] std::int64_t attention_kept(const LayerAdapter& has) const {
    const std::int64_t heads = config_.heads / tensor_, all_heads = heads + config_.kv_heads / tensor_;
    return stored(tokens_ * (q_ + 2 * kv_)) + (config_.qk_norm ? floats(tokens_ * all_heads) : 0) +
           stored(tokens_ * q_) + floats(tokens_ * heads) +
           has.inputs_of_attention() * adapter_.projected(true, tokens_) + adapter_.projected(has.o, tokens_);
  }
  [[nodiscard]] std::int64_t attention_remade() const { return stored(tokens_ * q_) + stored(tokens_ * kv_); }
  [[nodiscard]] std::int64_t mlp_kept(const LayerShape& layer) const {
    return layer.is_moe ? experts_.kept(layer.adapter) : adapter_.projected(layer.adapter.down, tokens_);
  }
  [[nodiscard]] std::int64_t mlp_remade(const LayerShape& layer) const {
    if (layer.is_moe) return experts_.remade(layer.adapter);
    return stored(tokens_ * 2 * width_) + stored(tokens_ * width_) +
           layer.adapter.inputs_of_mlp() * adapter_.projected(true, tokens_);
  }
  [[nodiscard]] std::int64_t layer_kept(const LayerShape& layer) const {
    return 2 * norm_kept() + attention_kept(layer.adapter) + mlp_kept(layer);
  }
  [[nodiscard]] std::int64_t layer_remade(const LayerShape& layer) const {
    return 2 * norm_remade() + attention_remade() + mlp_remade(layer);
  }
  [[nodiscard]] std::int64_t router_statistics(std::int64_t moe_layers) const {
    return floats(moe_layers * layers::Moe<HostFp32>::statistics_size(config_.experts));
  }

  /// All tokens, gathered from the tensor ranks or to be summed over them.
  [[nodiscard]] std::int64_t whole() const { return tensor_ == 1 ? 0 : stored(tokens_ * config_.hidden); }

  /// Projections of all tokens, with what dropout leaves of their inputs.
  [[nodiscard]] std::int64_t projecting(const LayerAdapter& has) const {
    return whole() + std::max(adapter_.left(has.inputs_of_attention() > 0, tokens_, config_.hidden),
                              adapter_.left(has.o, tokens_, q_));
  }
  [[nodiscard]] std::int64_t mlp_forward(const LayerShape& layer) const {
    if (layer.is_moe) return experts_.forward(layer.adapter);
    return std::max(mlp_remaking(layer.adapter),
                    whole() + adapter_.left(layer.adapter.down, tokens_, width_));
  }
  [[nodiscard]] std::int64_t mlp_remaking(const LayerAdapter& has) const {
    return whole() + adapter_.left(has.inputs_of_mlp() > 0, tokens_, config_.hidden);
  }
  /// Of layers/ring_attention.cpp: two pairs of keys and values, of which one travels; a part of the result;
  /// sums in fp32 where that is not the storage type.
  [[nodiscard]] std::int64_t attention_forward() const {
    if (context_ == 1) return 0;
    return 2 * stored(2 * tokens_ * kv_) + stored(tokens_ * q_) + floats(tokens_ * config_.heads / tensor_) +
           ring_sum();
  }
  [[nodiscard]] std::int64_t attention_backward(const LayerAdapter& has) const {
    const std::int64_t pair = 2 * tokens_ * kv_, hidden = config_.hidden;
    const std::int64_t ring =
        context_ == 1 ? 0 : 3 * stored(pair) + 2 * floats(pair) + stored(tokens_ * q_) + ring_sum();
    const std::int64_t out = whole() + stored(tokens_ * q_) + adapter_.products(has.o, tokens_, q_);
    const std::int64_t in = 2 * whole() +
                            has.inputs_of_attention() * adapter_.products(true, tokens_, hidden) +
                            adapter_.left(has.inputs_of_attention() > 0, tokens_, hidden);
    return std::max(out + adapter_.left(has.o, tokens_, q_),
                    out + stored(tokens_ * (q_ + 2 * kv_)) + attention_remade() + std::max(in, ring));
  }
  [[nodiscard]] std::int64_t mlp_backward(const LayerShape& layer) const {
    const LayerAdapter& has = layer.adapter;
    if (layer.is_moe) return experts_.backward(has);
    const std::int64_t in = whole() + has.inputs_of_mlp() * adapter_.products(true, tokens_, config_.hidden) +
                            adapter_.left(has.inputs_of_mlp() > 0, tokens_, config_.hidden);
    return 2 * whole() + stored(tokens_ * width_) + stored(tokens_ * 2 * width_) +
           adapter_.products(has.down, tokens_, width_) +
           std::max(adapter_.left(has.down, tokens_, width_), in);
  }
  [[nodiscard]] std::int64_t layer_forward(const LayerShape& layer) const {
    return std::max({projecting(layer.adapter), attention_forward(), mlp_forward(layer)});
  }
  /// The inputs of the products that give gradients of weights, besides those that forward kept: the gradient
  /// behind the block, that before its activation, and with a tensor axis all tokens of its input.
  [[nodiscard]] std::int64_t attention_products(const LayerAdapter& has) const {
    return stored(tokens_ * config_.hidden) + stored(tokens_ * (q_ + 2 * kv_)) + whole() +
           adapter_.products(has.o, tokens_, q_) +
           has.inputs_of_attention() * adapter_.products(true, tokens_, config_.hidden);
  }
  [[nodiscard]] std::int64_t mlp_products(const LayerShape& layer) const {
    if (layer.is_moe) return experts_.products(layer.adapter);
    return stored(tokens_ * config_.hidden) + stored(tokens_ * 2 * width_) + whole() +
           adapter_.products(layer.adapter.down, tokens_, width_) +
           layer.adapter.inputs_of_mlp() * adapter_.products(true, tokens_, config_.hidden);
  }
  /// Of remake.
  [[nodiscard]] std::int64_t layer_remaking(const LayerShape& layer) const {
    return layer.is_moe ? std::max(whole(), experts_.remaking(layer.adapter)) : mlp_remaking(layer.adapter);
  }
  [[nodiscard]] std::int64_t head(bool with_gradient) const {
    const std::int64_t chunk = std::min(head_targets(format_, local_vocab_), targets_);
    const std::int64_t rows = floats(2 * chunk) + stored(chunk * config_.hidden) +
                              stored(chunk * local_vocab_) + floats(chunk) +
                              (tensor_ == 1 ? 0 : floats(chunk));
    const std::int64_t dx = with_gradient ? stored(targets_ * config_.hidden) : 0;
    const std::int64_t after = with_gradient ? whole() : 0;
    return whole() + dx + std::max(chunk == 0 ? 0 : rows, after);
  }
  [[nodiscard]] std::int64_t embedding() const { return whole(); }
  [[nodiscard]] std::int64_t tables(std::int64_t longest) const {
    return 2 * floats(longest * config_.head_dim / 2);
  }
  [[nodiscard]] std::int64_t log_probabilities() const { return floats(targets_); }
  /// What HostBatch::placed and the numbers of the targets take; one sample.
  [[nodiscard]] std::int64_t lists() const {
    const std::int64_t remote = (context_ - 1) * (2 * ints(2) + 2 * ints(1));
    // Of a pair: where its answers begin, and how far they are from the reference.
    const std::int64_t answers = numbers_ > 1 ? ints(3) + floats(2) : 0;
    const std::int64_t numbers = adapter_.drops ? ints(2 * tokens_) : 0;
    return numbers + 3 * ints(tokens_) + ints(2) + 2 * ints(targets_) + numbers_ * floats(targets_) +
           answers + remote;
  }
  /// Of the largest operation (Device::scratch, which hands out whole MiB), and what products keep.
  [[nodiscard]] std::int64_t scratch() const {
    if (format_.space == Space::host) return 0;
    const std::int64_t sums_of_norms = kMultiprocessors * kNormBlocks * config_.hidden * kFloat;
    const std::int64_t sums_of_biases =
        config_.qkv_bias ? divide_up(tokens_, kBiasRows) * (q_ + 2 * kv_) * kFloat : 0;
    const std::int64_t counts_of_experts = divide_up(here_, kRouterRows) * (2 * config_.experts + 1) * kFloat;
    const std::int64_t sorted_ids = 6 * tokens_ * kInt;  // ids and tokens before and after, and while sorting
    return round_up(
               std::max({attention_scratch(), sums_of_norms, sums_of_biases, counts_of_experts, sorted_ids}),
               std::int64_t{1} << 20) +
           kProductScratch;
  }

 private:
  static std::int64_t padded(std::int64_t tokens, Space space, std::int64_t tensor) {
    const std::int64_t multiple =
        space == Space::host ? token_multiple<Space::host>(tensor) : token_multiple<Space::device>(tensor);
    return std::max(round_up(tokens, multiple), multiple);
  }
  [[nodiscard]] std::int64_t attention_scratch() const {
    const kernels::AttentionSizes sizes{.tokens = tokens_,
                                        .heads = config_.heads / tensor_,
                                        .kv_heads = config_.kv_heads / tensor_,
                                        .head_dim = config_.head_dim};
    const bool suits_cudnn = format_.storage == 2 && (config_.head_dim == 64 || config_.head_dim == 128);
    return suits_cudnn ? kernels::attention_scratch_bytes(sizes) : sizes.tokens * sizes.heads * kFloat;
  }
  [[nodiscard]] std::int64_t ring_sum() const { return format_.storage == kFloat ? 0 : floats(tokens_ * q_); }

  const ModelConfig& config_;
  MemoryFormat format_;
  Rooms rooms_;
  AdapterRooms adapter_;
  std::int64_t tensor_, context_;
  std::int64_t real_, tokens_, here_, targets_, numbers_,
      local_vocab_;  // real: of this context rank, without padding
  std::int64_t q_, kv_, width_;
  ExpertMemory experts_;
};

}  // namespace moebius::models
