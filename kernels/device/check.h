#pragma once
#include <cublasLt.h>
#include <cudnn.h>

#include "tensor/device/check.h"

/// The status codes of the libraries, like CUDA's own: anything but success throws, naming the caller's place.
namespace moebius::kernels {

using moebius::check;

inline void check(cublasStatus_t status, std::source_location where = std::source_location::current()) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw std::runtime_error(std::string(where.file_name()) + ":" + std::to_string(where.line()) +
                           ": cuBLAS: " + cublasLtGetStatusString(status));
}
inline void check(cudnnStatus_t status, std::source_location where = std::source_location::current()) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  throw std::runtime_error(std::string(where.file_name()) + ":" + std::to_string(where.line()) +
                           ": cuDNN: " + cudnnGetErrorString(status));
}

}  // namespace moebius::kernels
