#pragma once
#include <cuda_runtime_api.h>

#include <source_location>
#include <stdexcept>
#include <string>

namespace moebius {

/// Throws std::runtime_error naming the caller's file and line unless `status` is cudaSuccess.
inline void check(cudaError_t status, std::source_location where = std::source_location::current()) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(std::string(where.file_name()) + ":" + std::to_string(where.line()) +
                           ": CUDA: " + cudaGetErrorString(status));
}

}  // namespace moebius
