#pragma once
#include "base/bf16.h"
#include "tensor/queue.h"

namespace moebius {

/// What layers, models and training are templates over: the storage type of weights and activations, and the
/// space they live in. Explicit instantiations stand at the end of each .cpp; a device platform (bf16, and
/// fp32 for tests) is one more line there.
struct HostFp32 {
  using Storage = float;
  static constexpr Space kSpace = Space::host;
};

/// Anything usable as the platform parameter.
template <class P>
concept Platform = requires {
  typename P::Storage;
  { P::kSpace } -> std::convertible_to<Space>;
};

}  // namespace moebius
