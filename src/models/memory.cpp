#include "models/memory.h"

#include <algorithm>

#include "layers/layers.h"
#include "models/memory_extents.h"
#include "models/models.h"

namespace moebius::models {
namespace {

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
