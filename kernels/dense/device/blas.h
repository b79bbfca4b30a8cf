#pragma once
#include <cstdint>
#include <library_types.h>

#include "kernels/dense/gemm.h"

namespace moebius::kernels {

/// c = alpha * op(a) * op(b) + beta * c as cuBLASLt has it: matrices by columns, `stride` elements apart;
/// op(a) is [m, k], op(b) [k, n], c [m, n]; none of the extents is 0. Sums are fp32; products of fp32 are not
/// rounded to TF32.
struct BlasProduct {
  const void* a;
  const void* b;
  void* c;
  std::int64_t m, n, k;
  std::int64_t a_stride, b_stride, c_stride;
  Transpose transpose_a, transpose_b;
  cudaDataType_t factor_type, result_type;
  float alpha, beta;
};

/// With the algorithm that cuBLASLt proposes for these shapes and alignments, which is asked for once.
void multiply(const BlasProduct& product, Queue<Space::device> queue);

}  // namespace moebius::kernels
