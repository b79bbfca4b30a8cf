#pragma once

/// How many OpenMP threads the host twins use in this process.
namespace moebius::kernels {

/// The cores that this process may run on (its affinity mask).
[[nodiscard]] int usable_cores();
void set_threads(int count);

}  // namespace moebius::kernels
