#pragma once
#include <cstdint>
#include <span>

#include "cluster/reduction.h"
#include "tensor/dtype.h"

namespace moebius::parallel {

/// out[i] = parts[0][i] + parts[1][i] + ... (or max, min), from left to right: what makes sums reproducible.
/// `out` may be one of the parts. bf16 is accumulated in fp32 and rounded once. Throws std::invalid_argument
/// for a dtype that has no arithmetic here (float16).
struct Fold {
  std::span<const void* const> parts;
  void* out;
  std::int64_t count;
  Dtype dtype;
  cluster::Reduction reduction;
};
void fold(const Fold& op);

}  // namespace moebius::parallel
