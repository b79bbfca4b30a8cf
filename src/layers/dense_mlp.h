#pragma once
#include <string>

#include "layers/context.h"

namespace moebius::layers {

/// E: const T for weights, float for their gradients.
template <class E, Space S>
struct DenseMlpParameters {
  View<E, 2, S> gate_up;  // [2 * width / tensor, hidden]; gate above up
  View<E, 2, S> down;     // [hidden, width / tensor]
};

/// down(silu(gate(x)) * up(x)), its width split over the tensor ranks.
template <Platform P>
struct DenseMlp {
  using T = typename P::Storage;
  static constexpr Space S = P::kSpace;
  using Weights = DenseMlpParameters<const T, S>;
  using Gradients = DenseMlpParameters<float, S>;

  struct Saved {
    View<const T, 2, S> normed;  // [tokens / tensor, hidden]; the input
    View<T, 2, S> gate_up;       // [tokens, 2 * width / tensor]
    View<T, 2, S> active;        // [tokens, width / tensor]; what goes into `down`
  };

  std::string name;  // for the exchange
  Weights weights;

  /// delta [tokens / tensor, hidden], overwritten.
  void forward(View<const T, 2, S> normed, View<T, 2, S> delta, Saved& saved, Context<P>& context) const;
  /// dnormed [tokens / tensor, hidden], overwritten.
  void backward(View<const T, 2, S> ddelta, View<T, 2, S> dnormed, const Saved& saved,
                const Gradients& gradients, Context<P>& context) const;
};

}  // namespace moebius::layers
