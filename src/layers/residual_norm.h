#pragma once
#include "layers/context.h"

namespace moebius::layers {

/// The way into a block: the residual stream takes in what the block before computed (`delta`) and is
/// normalised. Works on this rank's tokens only.
template <Platform P>
struct ResidualNorm {
  using T = typename P::Storage;
  using G = typename P::Gradient;
  static constexpr Space kSpace = P::kSpace;

  struct Input {
    View<const T, 2, kSpace> stream;  // [tokens / tensor, hidden]
    View<const T, 2, kSpace> delta;   // the same shape, or empty: nothing to add
    View<T, 2, kSpace> sum;  // the stream after it; not written where delta is empty; may be `stream`
  };
  struct Saved {
    View<const T, 2, kSpace> sum;    // the stream that was normalised
    View<T, 2, kSpace> normed;       // [tokens / tensor, hidden]; can be remade
    View<float, 1, kSpace> inv_rms;  // [tokens / tensor]
  };

  View<const T, 1, kSpace> gain;  // [hidden]
  float epsilon;

  void forward(const Input& input, Saved& saved, Context<P>& context) const;
  void remake(Saved& saved, Context<P>& context) const;

  struct Gradient {
    View<const T, 2, kSpace> dnormed;  // [tokens / tensor, hidden]
    View<const T, 2, kSpace> beside;   // what reaches the stream on its other way; or empty
    View<T, 2, kSpace> dstream;  // overwritten: the gradient in `sum` and so in `delta`; may be the others
  };
  void backward(const Gradient& gradient, const Saved& saved, View<G, 1, kSpace> dgain,
                Context<P>& context) const;
};

}  // namespace moebius::layers
