#pragma once
#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace moebius {

/// Throws std::runtime_error naming the caller's file and line unless `status` is cudaSuccess.
/// (std::source_location would do it in one argument, but clang-tidy 14 cannot read libstdc++ 12's.)
inline void check(cudaError_t status, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(std::string(file) + ":" + std::to_string(line) +
                           ": CUDA: " + cudaGetErrorString(status));
}

}  // namespace moebius
