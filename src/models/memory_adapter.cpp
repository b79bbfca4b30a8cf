#include "models/memory_adapter.h"

#include <fmt/format.h>
#include <unordered_set>

#include "models/models.h"

namespace moebius::models {

std::vector<LayerAdapter> layer_adapters(const ModelConfig& config,
                                         const std::optional<AdapterSettings>& settings) {
  std::vector<LayerAdapter> layers{std::size_t(config.layers)};
  if (!settings) return layers;
  std::unordered_set<std::string> names;
  for (const Parameter& parameter : adapter_table(parameter_table(config), *settings))
    names.insert(parameter.name);
  for (std::int64_t n = 0; n < config.layers; ++n) {
    const bool is_moe = config.is_moe_layer[std::size_t(n)];
    const auto has = [&](const std::string& weight) {
      return names.contains(fmt::format("layers.{}.{}.a", n, weight));
    };
    const std::string mlp = is_moe ? "experts." : "mlp.";
    layers[std::size_t(n)] = {.q = has("attention.q"),
                              .k = has("attention.k"),
                              .v = has("attention.v"),
                              .o = has("attention.o"),
                              .gate = has(mlp + "gate_up.gate_proj"),
                              .up = has(mlp + "gate_up.up_proj"),
                              .down = has(mlp + "down"),
                              .router = has("router")};
  }
  return layers;
}

AdapterRooms adapter_rooms(const Rooms& rooms, const std::optional<AdapterSettings>& settings) {
  if (!settings) return {.rooms = rooms};
  return {.rooms = rooms, .rank = settings->rank, .drops = settings->dropout > 0};
}

}  // namespace moebius::models
