#pragma once
#include <string>

#include "layers/context.h"

namespace moebius::layers {

/// E: const T for weights, the type of gradients for those.
template <class E, Space S>
struct DenseMlpParameters {
  View<E, 2, S> gate_up;  // [2 * width / tensor, hidden]; gate above up
  View<E, 2, S> down;     // [hidden, width / tensor]
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
  };

  std::string name;  // for the exchange
  Weights weights;

  /// delta [tokens / tensor, hidden], overwritten.
  void forward(View<const T, 2, kSpace> normed, View<T, 2, kSpace> delta, Saved& saved,
               Context<P>& context) const;
  /// gate_up and active again; `normed` is there.
  void remake(Saved& saved, Context<P>& context) const;
  void backward(const BlockGradient<P>& gradient, const Saved& saved, const Gradients& gradients,
                Context<P>& context) const;
};

}  // namespace moebius::layers
