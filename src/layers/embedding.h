#pragma once
#include <string>

#include "layers/context.h"

namespace moebius::layers {

/// The embedding table, its vocabulary split over the tensor ranks. Every tensor rank sees all ids; each ends
/// with its own tokens.
template <Platform P>
struct Embedding {
  using T = typename P::Storage;
  using G = typename P::Gradient;
  static constexpr Space kSpace = P::kSpace;

  std::string name;                // for the exchange
  View<const T, 2, kSpace> table;  // [vocab / tensor, hidden]
  std::int64_t vocab_begin = 0;

  void forward(View<const std::int32_t, 1, kSpace> ids, View<T, 2, kSpace> stream, Context<P>& context) const;
  /// `into` is not the context's where the output projection has been at dtable before.
  void backward(View<const std::int32_t, 1, kSpace> ids, View<const T, 2, kSpace> dstream,
                View<G, 2, kSpace> dtable, kernels::Into into, Context<P>& context) const;
};

}  // namespace moebius::layers
