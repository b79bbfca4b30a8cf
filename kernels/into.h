#pragma once
#include <cstdint>

namespace moebius::kernels {

/// What an operation does with the sums that lie in its output. The gradients of weights are added up over
/// the micro batches of a step; the first one overwrites, so that nobody needs to clear them.
enum class Into : std::uint8_t { overwrite, add };

}  // namespace moebius::kernels
