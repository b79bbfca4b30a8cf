#pragma once
#include <string>

#include "layers/low_rank.h"

namespace moebius::layers {

/// E: const T for weights, the type of gradients for those.
template <class E, Space S>
struct DenseMlpParameters {
  View<E, 2, S> gate_up;  // [2 * width / tensor, hidden]; gate above up
  View<E, 2, S> down;     // [hidden, width / tensor]
  struct {
    Factors<E, S> gate, up, down;
  } adapter;
};

/// down(silu(gate(x)) * up(x)), its width split over the tensor ranks.
template <Platform P>
struct DenseMlp {
  using T = typename P::Storage;
  using G = typename P::Gradient;
  static constexpr Space kSpace = P::kSpace;
  using Weights = DenseMlpParameters<const T, kSpace>;
  using Gradients = DenseMlpParameters<typename P::Gradient, kSpace>;

  struct Saved {
    View<const T, 2, kSpace> normed;  // [tokens / tensor, hidden]; the input
    View<T, 2, kSpace> gate_up;       // [tokens, 2 * width / tensor]; can be remade
    View<T, 2, kSpace> active;        // [tokens, width / tensor]; what goes into `down`; can be remade
    struct {
      View<T, 2, kSpace> gate, up, down;  // [tokens, rank]; see LowRank::forward; gate and up can be remade
    } projected;
  };

  std::string name;  // for the exchange
  Weights weights;
  float adapter_scale = 1;

  /// delta [tokens / tensor, hidden], overwritten.
  void forward(View<const T, 2, kSpace> normed, View<T, 2, kSpace> delta, Saved& saved,
               Context<P>& context) const;
  /// gate_up and active again; `normed` is there.
  void remake(Saved& saved, Context<P>& context) const;
  void backward(const BlockGradient<P>& gradient, const Saved& saved, const Gradients& gradients,
                Context<P>& context) const;

 private:
  [[nodiscard]] LowRank<P> adapter_gate() const {
    return {weights.adapter.gate, adapter_scale, {name, "gate"}};
  }
  [[nodiscard]] LowRank<P> adapter_up() const { return {weights.adapter.up, adapter_scale, {name, "up"}}; }
  [[nodiscard]] LowRank<P> adapter_down() const {
    return {weights.adapter.down, adapter_scale, {name, "down", Axis::tensor}};
  }
};

}  // namespace moebius::layers
