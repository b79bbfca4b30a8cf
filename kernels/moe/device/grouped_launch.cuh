#pragma once
#include <algorithm>

#include "base/math.h"
#include "kernels/device/check.h"
#include "kernels/device/device.h"
#include "kernels/moe/device/grouped_product.cuh"
#include "kernels/moe/device/tensor_map.h"
#include "kernels/moe/grouped_gemm.h"

/// Starts grouped_product for the operations of grouped_gemm.h.
namespace moebius::kernels {

/// What the launches of a device share.
class GroupedProducts {
 public:
  explicit GroupedProducts(Device& device) {
    check(cudaMalloc(&counter_, kCounters * sizeof(unsigned)));
    check(cudaMemsetAsync(counter_, 0, kCounters * sizeof(unsigned), device.queue().stream));
  }
  GroupedProducts(const GroupedProducts&) = delete;
  GroupedProducts& operator=(const GroupedProducts&) = delete;
  ~GroupedProducts() { static_cast<void>(cudaFree(counter_)); }

  /// Zeros between launches.
  [[nodiscard]] unsigned* counter() const { return counter_; }
  [[nodiscard]] const TensorMaps& maps() const { return maps_; }

 private:
  unsigned* counter_ = nullptr;
  TensorMaps maps_;
};

/// TMA wants addresses and rows that are multiples of 16 bytes; the tables take so many groups.
[[nodiscard]] inline bool fits_grouped_product(std::int64_t groups, std::int64_t out, std::int64_t in,
                                               std::initializer_list<const void*> tensors) {
  const auto aligned = [](const void* tensor) { return reinterpret_cast<std::uintptr_t>(tensor) % 16 == 0; };
  return groups <= kMaxGroups && out % 8 == 0 && in % 8 == 0 &&
         std::all_of(tensors.begin(), tensors.end(), aligned);
}

struct ProductFactors {
  MappedTensor a, b, result;  // result.data: null where the kernel stores without TMA
};

template <Product product, Into into, class Out>
void launch(const ProductFactors& factors, ProductArguments<Out> arguments, Queue<Space::device> queue) {
  auto& shared = queue.device->state<GroupedProducts>();
  constexpr auto kKernel = &grouped_product<product, into, Out>;
  // TMA wants 1024-byte aligned memory, which the first byte of a block's is.
  constexpr std::size_t kBytes = sizeof(ProductMemory);
  static_assert(kBytes <= 227 * 1024, "shared memory of a block on compute capability 9.0");
  queue.device->allow_shared_memory(reinterpret_cast<const void*>(kKernel), kBytes);
  arguments.counter = shared.counter();
  const CUtensorMap a = shared.maps().make(factors.a), b = shared.maps().make(factors.b);
  const CUtensorMap result =
      factors.result.data == nullptr ? CUtensorMap{} : shared.maps().make(factors.result);
  const unsigned blocks = unsigned(queue.device->multiprocessors());
  kKernel<<<blocks, kProductThreads, kBytes, queue.stream>>>(a, b, result, arguments);
  check(cudaGetLastError());
}

inline void launch(const GroupedGemmForward<bf16, Space::device>& op, Queue<Space::device> queue) {
  const auto [groups, out, in] = op.w.shape;
  const ProductFactors factors{.a = {op.x.data, 1, op.x.shape[0], in, 2, kTileRows},
                               .b = {op.w.data, groups, out, in, 2, kTileColumns},
                               .result = {}};
  launch<Product::forward, Into::overwrite, bf16>(
      factors,
      {.starts = op.starts.data,
       .extents = {.groups = int(groups), .rows = 0, .columns = int(out), .depth = int(in)},
       .result = op.y.data,
       .counter = nullptr},
      queue);
}

inline void launch(const GroupedGemmInputGradient<bf16, Space::device>& op, Queue<Space::device> queue) {
  const auto [groups, out, in] = op.w.shape;
  const ProductFactors factors{.a = {op.dy.data, 1, op.dy.shape[0], out, 2, kTileRows},
                               .b = {op.w.data, groups, out, in, 2, kStepDepth},
                               .result = {}};
  launch<Product::input_gradient, Into::overwrite, bf16>(
      factors,
      {.starts = op.starts.data,
       .extents = {.groups = int(groups), .rows = 0, .columns = int(in), .depth = int(out)},
       .result = op.dx.data,
       .counter = nullptr},
      queue);
}

template <Into into, class G>
void launch(const GroupedGemmWeightGradient<bf16, Space::device, G>& op, Queue<Space::device> queue) {
  const auto [groups, out, in] = op.dw.shape;
  const G* mapped = sizeof(G) == 4 ? op.dw.data : nullptr;
  const ProductFactors factors{.a = {op.dy.data, 1, op.dy.shape[0], out, 2, kStepDepth},
                               .b = {op.x.data, 1, op.x.shape[0], in, 2, kStepDepth},
                               .result = {mapped, groups, out, in, sizeof(G), kWarpRows}};
  launch<Product::weight_gradient, into, G>(
      factors,
      {.starts = op.starts.data,
       .extents = {.groups = int(groups), .rows = int(out), .columns = int(in), .depth = 0},
       .result = op.dw.data,
       .counter = nullptr},
      queue);
}

}  // namespace moebius::kernels
