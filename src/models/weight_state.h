#pragma once
#include <optional>

#include "models/ownership.h"
#include "models/shards.h"

namespace moebius::models {

/// Where the fp32 value of each weight is kept, from which the optimizer goes on (kernels/update/adamw.h).
enum class Truth : std::uint8_t {
  weights,    // in the weights themselves: what their type cannot hold is lost
  master,     // beside them, in fp32
  remainder,  // beside them, as the 16 bits that weights in bf16 lack
};

/// This rank's weights, and for those that it owns their fp32 values, where the weights alone do not tell
/// them. The memory is the arenas'. One that is made from the weights alone keeps its truth in them.
template <class T, Space S>
struct WeightState {
  Shards<T, S> weights;
  std::optional<Owned<float, S>> master;
  std::optional<Owned<std::int16_t, S>> remainder;  // T = bf16 only

  [[nodiscard]] const ShardLayout& layout() const { return weights.layout(); }
  /// Of what stands beside the weights; null where nothing does.
  [[nodiscard]] const Ownership* ownership() const {
    if (master) return &master->ownership();
    return remainder ? &remainder->ownership() : nullptr;
  }
  [[nodiscard]] Truth truth() const {
    if (master) return Truth::master;
    return remainder ? Truth::remainder : Truth::weights;
  }
};

/// Takes the memory: weights from `weight_memory`, what stands beside them from `optimizer_memory`. All
/// zeros. Weights in float are their own truth, whatever `truth` says.
template <class T, Space S>
[[nodiscard]] WeightState<T, S> make_weight_state(const Ownership& ownership, Truth truth,
                                                  Arena<S>& weight_memory, Arena<S>& optimizer_memory,
                                                  Queue<S> queue);

/// Zeros everywhere, gaps included.
template <class T, Space S>
void clear(const WeightState<T, S>& state, Queue<S> queue);

/// Start values of a model without weights, see models/shards.h: the same fp32 values whatever T and truth
/// are, the weights rounded from them.
template <class T, Space S>
void initialise(const WeightState<T, S>& state, std::uint64_t seed, Queue<S> queue);

}  // namespace moebius::models
