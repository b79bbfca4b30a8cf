#include "kernels/moe/device/tensor_map.h"

#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include <string>

#include "tensor/device/check.h"

namespace moebius::kernels {

TensorMaps::TensorMaps() {
  cudaDriverEntryPointQueryResult result;
  check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode_, 12000, cudaEnableDefault,
                                         &result));
  if (result != cudaDriverEntryPointSuccess) {
    throw std::runtime_error("the CUDA driver has no cuTensorMapEncodeTiled: it is older than CUDA 12.0");
  }
}

CUtensorMap TensorMaps::make(const MappedTensor& tensor) const {
  const auto encode = reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(encode_);
  const cuuint64_t row_bytes = cuuint64_t(tensor.columns) * cuuint64_t(tensor.element_bytes);
  const cuuint64_t extents[] = {cuuint64_t(tensor.columns), cuuint64_t(tensor.rows),
                                cuuint64_t(tensor.groups)};
  const cuuint64_t strides[] = {row_bytes, row_bytes * cuuint64_t(tensor.rows)};
  const cuuint32_t box[] = {cuuint32_t(128 / tensor.element_bytes), cuuint32_t(tensor.box_rows), 1};
  const cuuint32_t steps[] = {1, 1, 1};
  CUtensorMap map;
  const CUresult status = encode(
      &map, tensor.element_bytes == 4 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3,
      const_cast<void*>(tensor.data), extents, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status == CUDA_SUCCESS) return map;
  throw std::runtime_error("cuTensorMapEncodeTiled: status " + std::to_string(int(status)) + " for [" +
                           std::to_string(tensor.groups) + ", " + std::to_string(tensor.rows) + ", " +
                           std::to_string(tensor.columns) + "]");
}

}  // namespace moebius::kernels
