#include "models/memory.h"

#include <algorithm>

#include "kernels/attention/attention.h"
#include "layers/layers.h"
#include "models/batch.h"
#include "models/memory_adapter.h"
#include "models/memory_experts.h"
#include "models/models.h"

namespace moebius::models {
namespace {

constexpr std::int64_t kFloat = 4, kInt = 4;  // bytes

// How device twins cut their work, for the partial sums that they keep in scratch memory.
constexpr std::int64_t kMultiprocessors = 132;                    // of H100 and H200
constexpr std::int64_t kNormBlocks = 3;                           // on each, kernels/norm/rmsnorm.cu
constexpr std::int64_t kBiasRows = 256;                           // kernels/dense/bias.cu
constexpr std::int64_t kRouterRows = 32;                          // kernels/moe/router.cu
constexpr std::int64_t kProductScratch = std::int64_t{64} << 20;  // kernels/dense/device/blas.cpp

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

/// Elements of this rank's flat buffers, of those the ones that it owns, and of the gradients of others that
/// it adds up at once.
struct Elements {
  std::int64_t flat, owned, arriving;
};
Elements elements_of(ParameterTable table, const Mesh& mesh, const Stages& stages) {
  const ShardLayout layout(std::move(table), mesh, stages);
  const Ownership ownership(layout, mesh);
  return {layout.size(), ownership.size(), ownership.largest_arrival()};
}

std::int64_t truth_bytes(Truth truth) {
  switch (truth) {
    case Truth::weights: return 0;
    case Truth::master: return 4;
    case Truth::remainder: return 2;
  }
  return 0;
}

/// What one chunk keeps of a micro batch from forward to backward, and what it makes again besides.
struct Kept {
  std::int64_t activations = 0, remade = 0;
};

/// The layers of a stage, chunk by chunk.
class StageMemory {
 public:
  StageMemory(const ModelConfig& config, const Mesh& mesh, const Extents& of, const MemoryFormat& format)
      : config_(config),
        of_(of),
        format_(format),
        stage_(mesh.index(Axis::pipeline)),
        adapters_(layer_adapters(config, format.adapter)) {
    const Stages& stages = format.stage.stages;
    for (std::int64_t chunk = 0; chunk < stages.chunks(); ++chunk) {
      Range layers = stages.layers(stage_, chunk);
      layers.end = std::min(layers.end, config.layers);
      chunks_.push_back({layers, stages.is_first(stage_, chunk), stages.is_last(stage_, chunk)});
    }
  }

  [[nodiscard]] bool has_head() const { return chunks_.back().is_last; }
  /// Of the largest chunk.
  [[nodiscard]] Kept training() const {
    Kept most;
    for (const Chunk& chunk : chunks_) {
      const Kept kept = kept_by_layers(chunk);
      const std::int64_t ends = of_.router_statistics(moe_layers(chunk)) + before(chunk) + behind(chunk);
      most = {std::max(most.activations, ends + kept.activations), std::max(most.remade, kept.remade)};
    }
    return most;
  }
  /// What backward leaves of the largest chunk.
  [[nodiscard]] std::int64_t pending() const {
    std::int64_t most = 0;
    for (const Chunk& chunk : chunks_) {
      std::int64_t sum = 0;
      each_layer(chunk, [&](const LayerShape& one) {
        sum += of_.attention_products(one.adapter) + of_.mlp_products(one);
      });
      most = std::max(most, sum);
    }
    return most;
  }
  [[nodiscard]] std::int64_t scoring() const {
    std::int64_t most = 0;
    const std::int64_t last_norm = of_.norm_kept() + of_.norm_remade();  // stands after the layers
    for (const Chunk& chunk : chunks_) {
      std::int64_t layer = chunk.is_last ? last_norm + of_.log_probabilities() : of_.stream();
      each_layer(chunk, [&](const LayerShape& one) {
        layer = std::max(layer, of_.layer_kept(one) + of_.layer_remade(one));
      });
      most = std::max(most, before(chunk) + of_.router_statistics(moe_layers(chunk)) + layer);
    }
    return most;
  }
  [[nodiscard]] std::int64_t forward_workspace() const {
    std::int64_t most = chunks_.front().is_first ? of_.embedding() : 0;
    for (const Chunk& chunk : chunks_) {
      each_layer(chunk, [&](const LayerShape& one) { most = std::max(most, of_.layer_forward(one)); });
    }
    return most;
  }
  [[nodiscard]] std::int64_t backward_workspace() const {
    const bool full = format_.recompute == Recompute::full;
    const bool selective = format_.recompute == Recompute::selective;
    std::int64_t most = chunks_.front().is_first ? of_.embedding() : 0, again = 0;
    for (const Chunk& chunk : chunks_) {
      each_layer(chunk, [&](const LayerShape& one) {
        most = std::max({most, of_.attention_backward(one.adapter), of_.mlp_backward(one)});
        again = std::max(again, selective ? of_.layer_remaking(one) : of_.layer_forward(one));
      });
    }
    if (selective) most = std::max(most, again);
    return full ? of_.stream() + std::max(most, again) : most;
  }

 private:
  struct Chunk {
    Range layers;
    bool is_first, is_last;
  };
  [[nodiscard]] LayerShape shape_of(std::int64_t n) const {
    return {config_.is_moe_layer[std::size_t(n)], adapters_[std::size_t(n)]};
  }
  template <class Work>
  void each_layer(const Chunk& chunk, const Work& work) const {
    for (std::int64_t n = chunk.layers.begin; n < chunk.layers.end; ++n) work(shape_of(n));
  }
  [[nodiscard]] std::int64_t moe_layers(const Chunk& chunk) const {
    std::int64_t count = 0;
    each_layer(chunk, [&](const LayerShape& one) { count += one.is_moe ? 1 : 0; });
    return count;
  }
  /// The embedding; what another stage sends lies among the messages.
  [[nodiscard]] std::int64_t before(const Chunk& chunk) const { return chunk.is_first ? of_.stream() : 0; }
  /// The last norm with its sum, log-probabilities, the gradient in the hidden states; or what goes on. In
  /// groups the sum is there already.
  [[nodiscard]] std::int64_t behind(const Chunk& chunk) const {
    const std::int64_t sum = format_.recompute == Recompute::full ? 0 : of_.stream();
    if (!chunk.is_last) return sum;
    return sum + of_.norm_kept() + of_.norm_remade() + of_.log_probabilities() + of_.stream();
  }
  /// Each layer with the stream that goes into it and between its blocks.
  [[nodiscard]] Kept kept_by_layers(const Chunk& chunk) const {
    const auto [begin, end] = chunk.layers;
    const auto streams = [&](bool is_first) { return (is_first ? 1 : 2) * of_.stream(); };
    Kept kept;
    if (format_.recompute == Recompute::full) {
      const std::int64_t length = format_.group_layers;
      for (std::int64_t first = begin; first < end; first += length) {
        std::int64_t group = of_.router_statistics(moe_layers(chunk));
        for (std::int64_t n = first; n < std::min(first + length, end); ++n)
          group += streams(n == first) + of_.layer_kept(shape_of(n)) + of_.layer_remade(shape_of(n));
        kept.remade = std::max(kept.remade, group);
      }
      kept.activations = divide_up(end - begin, length) * of_.stream();
      return kept;
    }
    for (std::int64_t n = begin; n < end; ++n) {
      kept.activations += streams(n == begin) + of_.layer_kept(shape_of(n));
      if (format_.recompute == Recompute::nothing) kept.activations += of_.layer_remade(shape_of(n));
      if (format_.recompute == Recompute::selective)
        kept.remade = std::max(kept.remade, of_.layer_remade(shape_of(n)));
    }
    return kept;
  }

  const ModelConfig& config_;
  const Extents& of_;
  const MemoryFormat& format_;
  std::int64_t stage_;
  std::vector<LayerAdapter> adapters_;  // [layers of the model]
  std::vector<Chunk> chunks_;
};

}  // namespace

std::int64_t head_targets(const MemoryFormat& format, std::int64_t local_vocab) {
  if (format.space == Space::host) return layers::LmHead<HostFp32>::chunk_targets(local_vocab);
  return format.storage == 2 ? layers::LmHead<DeviceBf16>::chunk_targets(local_vocab)
                             : layers::LmHead<DeviceFp32>::chunk_targets(local_vocab);
}

ModelMemory training_memory(const ModelConfig& config, const Mesh& mesh, const MicroBatchShape& shape,
                            std::int64_t longest, const MemoryFormat& format) {
  const Extents of(config, mesh, shape, format);
  const StageMemory stage(config, mesh, of, format);
  ParameterTable table = parameter_table(config);
  ParameterTable learning = format.adapter ? adapter_table(table, *format.adapter) : table;
  const std::int64_t all = elements_of(std::move(table), mesh, format.stage.stages).flat;
  const auto [elements, owned, arriving] = elements_of(std::move(learning), mesh, format.stage.stages);
  ModelMemory memory{.weights = of.room(all, format.storage),
                     .factors = format.adapter ? of.room(elements, format.storage) : 0,
                     .gradients = of.room(elements, format.gradient),
                     .moments = 2 * of.room(owned, format.moment)};
  if (format.truth != Truth::weights) memory.truth = of.room(owned, truth_bytes(format.truth));
  const Kept kept = stage.training();
  memory.activations = kept.activations;
  memory.lists = of.lists();
  memory.in_flight = format.stage.in_flight;
  memory.pending = format.stage.pending;
  memory.pending_slot = memory.pending == 0 ? 0 : stage.pending();
  memory.messages = format.stage.messages * of.stream();
  memory.remade = kept.remade;
  memory.tables = of.tables(longest);
  memory.workspace = of.stream() + std::max(stage.forward_workspace(), stage.backward_workspace());
  if (stage.has_head()) memory.workspace = std::max(memory.workspace, of.head(true));
  memory.scratch = of.scratch();
  if (format.space == Space::host && arriving > 0)
    memory.scratch += Ownership::kHostSums * of.room(arriving, format.gradient);
  return memory;
}

ModelMemory scoring_memory(const ModelConfig& config, const Mesh& mesh, const MicroBatchShape& shape,
                           std::int64_t longest, const MemoryFormat& given) {
  MemoryFormat format = given;
  if (format.adapter) format.adapter->dropout = 0;  // of training alone
  const Extents of(config, mesh, shape, format);
  const StageMemory stage(config, mesh, of, format);
  const std::int64_t elements = elements_of(parameter_table(config), mesh, format.stage.stages).flat;
  ModelMemory memory{.weights = of.room(elements, format.storage)};
  memory.activations = stage.scoring();
  memory.in_flight = format.stage.in_flight;
  memory.messages = format.stage.messages * of.stream();
  memory.workspace = of.stream() + stage.forward_workspace();
  if (stage.has_head()) memory.workspace = std::max(memory.workspace, of.head(false));
  memory.lists = of.lists();
  memory.tables = of.tables(longest);
  memory.scratch = of.scratch();
  return memory;
}

}  // namespace moebius::models
