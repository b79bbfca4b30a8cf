#include "parallel/fold.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace moebius::parallel {
namespace {

using cluster::Reduction;

constexpr std::int64_t kBlock = 1024;  // elements; the accumulator stays in the first-level cache

template <class T, class Combine>
void fold_blocks(const Fold& op, Combine combine) {
  using Accumulator = std::conditional_t<std::is_same_v<T, bf16>, float, T>;
  std::array<Accumulator, kBlock> sum;
  for (std::int64_t begin = 0; begin < op.count; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, op.count - begin);
    const T* const first = static_cast<const T*>(op.parts[0]) + begin;
    for (std::int64_t i = 0; i < count; ++i) sum[std::size_t(i)] = Accumulator(first[i]);
    for (const void* const part : op.parts.subspan(1)) {
      const T* const next = static_cast<const T*>(part) + begin;
      for (std::int64_t i = 0; i < count; ++i)
        sum[std::size_t(i)] = combine(sum[std::size_t(i)], Accumulator(next[i]));
    }
    T* const out = static_cast<T*>(op.out) + begin;
    for (std::int64_t i = 0; i < count; ++i) out[i] = T(sum[std::size_t(i)]);
  }
}

template <class T>
void fold_as(const Fold& op) {
  switch (op.reduction) {
    case Reduction::sum: return fold_blocks<T>(op, [](auto a, auto b) { return a + b; });
    case Reduction::max: return fold_blocks<T>(op, [](auto a, auto b) { return a < b ? b : a; });
    case Reduction::min: return fold_blocks<T>(op, [](auto a, auto b) { return b < a ? b : a; });
  }
}

}  // namespace

void fold(const Fold& op) {
  switch (op.dtype) {
    case Dtype::float32: return fold_as<float>(op);
    case Dtype::bfloat16: return fold_as<bf16>(op);
    case Dtype::float64: return fold_as<double>(op);
    case Dtype::int32: return fold_as<std::int32_t>(op);
    case Dtype::int64: return fold_as<std::int64_t>(op);
    case Dtype::float16: break;
  }
  throw std::invalid_argument("no reduction over " + std::string(name_of(op.dtype)));
}

}  // namespace moebius::parallel
