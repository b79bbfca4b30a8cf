#pragma once
#include "base/bf16.h"
#include "tensor/queue.h"

namespace moebius {

/// What layers, models and training are templates over: the storage type of weights and activations, the type
/// that gradients of weights are added up in, and the space they live in.
struct HostFp32 {
  using Storage = float;
  using Gradient = float;
  static constexpr Space kSpace = Space::host;
};

/// For tests: no TF32 anywhere.
struct DeviceFp32 {
  using Storage = float;
  using Gradient = float;
  static constexpr Space kSpace = Space::device;
};

struct DeviceBf16 {
  using Storage = bf16;
  using Gradient = float;
  static constexpr Space kSpace = Space::device;
};

struct DeviceBf16Gradients {
  using Storage = bf16;
  using Gradient = bf16;
  static constexpr Space kSpace = Space::device;
};

/// Anything usable as the platform parameter.
template <class P>
concept Platform = requires {
  typename P::Storage;
  typename P::Gradient;
  { P::kSpace } -> std::convertible_to<Space>;
};

}  // namespace moebius

/// Explicit instantiations stand at the end of each .cpp: MOEBIUS_EACH_PLATFORM(X) is X(P) for every platform
/// of this build, MOEBIUS_EACH_SPACE(X) is X(S) for every space.
#if MOEBIUS_CUDA
#define MOEBIUS_EACH_PLATFORM(instantiate)                                                               \
  instantiate(::moebius::HostFp32) instantiate(::moebius::DeviceFp32) instantiate(::moebius::DeviceBf16) \
      instantiate(::moebius::DeviceBf16Gradients)
#define MOEBIUS_EACH_SPACE(instantiate) \
  instantiate(::moebius::Space::host) instantiate(::moebius::Space::device)
#else
#define MOEBIUS_EACH_PLATFORM(instantiate) instantiate(::moebius::HostFp32)
#define MOEBIUS_EACH_SPACE(instantiate) instantiate(::moebius::Space::host)
#endif
