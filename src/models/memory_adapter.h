#pragma once
#include <optional>
#include <vector>

#include "models/adapter.h"
#include "models/config.h"
#include "models/memory_rooms.h"

namespace moebius::models {

/// Which weights of one layer have an adapter.
struct LayerAdapter {
  bool q = false, k = false, v = false, o = false, gate = false, up = false, down = false, router = false;

  [[nodiscard]] std::int64_t inputs_of_attention() const { return int(q) + int(k) + int(v); }
  [[nodiscard]] std::int64_t inputs_of_mlp() const { return int(gate) + int(up); }
};
/// Of every layer of the model: [layers].
[[nodiscard]] std::vector<LayerAdapter> layer_adapters(const ModelConfig& config,
                                                       const std::optional<AdapterSettings>& settings);

/// What an adapter beside one weight allocates (layers/low_rank.h), for so many rows.
struct AdapterRooms {
  Rooms rooms;
  std::int64_t rank = 0;
  bool drops = false;

  /// What forward keeps of it, and what backward leaves beside it.
  [[nodiscard]] std::int64_t projected(bool has, std::int64_t rows) const {
    return has ? rooms.stored(rows * rank) : 0;
  }
  /// The inputs that were not dropped, or their gradient.
  [[nodiscard]] std::int64_t left(bool has, std::int64_t rows, std::int64_t inputs) const {
    return has && drops ? rooms.stored(rows * inputs) : 0;
  }
  /// Inputs of the products that give gradients of the factors.
  [[nodiscard]] std::int64_t products(bool has, std::int64_t rows, std::int64_t inputs) const {
    return projected(has, rows) + left(has, rows, inputs);
  }
};
[[nodiscard]] AdapterRooms adapter_rooms(const Rooms& rooms, const std::optional<AdapterSettings>& settings);

}  // namespace moebius::models
