#pragma once
#include <cuda.h>

#include <cstdint>

namespace moebius::kernels {

/// A contiguous [groups, rows, columns] that the tensor memory accelerator copies in boxes of `box_rows` rows
/// of 128 bytes, swizzled as wgmma reads them. Rows are multiples of 16 bytes, and so is the address.
struct MappedTensor {
  const void* data;
  std::int64_t groups, rows, columns;
  int element_bytes;  // 2: bf16; 4: float
  int box_rows;       // at most 256
};

/// Makes tensor maps. The driver's function for it is looked up, so that nothing links libcuda.
class TensorMaps {
 public:
  TensorMaps();
  [[nodiscard]] CUtensorMap make(const MappedTensor& tensor) const;

 private:
  void* encode_ = nullptr;
};

}  // namespace moebius::kernels
