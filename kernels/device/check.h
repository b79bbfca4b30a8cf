#pragma once
#include <cublasLt.h>
#include <cudnn.h>

#include "tensor/device/check.h"

/// The status codes of the libraries, like CUDA's own: anything but success throws, naming the caller's
/// place.
namespace moebius::kernels {

using moebius::check;

inline void check(cublasStatus_t status, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw std::runtime_error(std::string(file) + ":" + std::to_string(line) +
                           ": cuBLAS: " + cublasLtGetStatusString(status));
}
inline void check(cudnnStatus_t status, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  throw std::runtime_error(std::string(file) + ":" + std::to_string(line) +
                           ": cuDNN: " + cudnnGetErrorString(status));
}

}  // namespace moebius::kernels
