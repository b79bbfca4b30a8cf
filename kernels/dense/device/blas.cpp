#include "kernels/dense/device/blas.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <map>

#include "kernels/device/check.h"
#include "kernels/device/device.h"

namespace moebius::kernels {
namespace {

/// The largest power of two, at most 256, that divides the address.
std::int64_t alignment(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer) | 256;
  return std::int64_t(address & (~address + 1));
}

/// What cuBLASLt chooses by.
using ShapeKey = std::array<std::int64_t, 13>;
ShapeKey key_of(const BlasProduct& p) {
  return {p.m,
          p.n,
          p.k,
          p.a_stride,
          p.b_stride,
          p.c_stride,
          std::int64_t(p.transpose_a),
          std::int64_t(p.transpose_b),
          p.factor_type,
          p.result_type,
          alignment(p.a),
          alignment(p.b),
          alignment(p.c)};
}

/// A product in cuBLASLt's descriptions, which hold no memory.
struct Description {
  cublasLtMatmulDescOpaque_t product;
  cublasLtMatrixLayoutOpaque_t a, b, c;

  explicit Description(const BlasProduct& p) {
    check(cublasLtMatmulDescInit(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    transpose(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_a);
    transpose(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_b);
    layout(a, p.factor_type, p.transpose_a, {p.m, p.k, p.a_stride});
    layout(b, p.factor_type, p.transpose_b, {p.k, p.n, p.b_stride});
    layout(c, p.result_type, Transpose::no, {p.m, p.n, p.c_stride});
  }

 private:
  struct Extents {
    std::int64_t rows, columns, stride;  // of op(matrix)
  };
  void transpose(cublasLtMatmulDescAttributes_t which, Transpose value) {
    const cublasOperation_t operation = value == Transpose::yes ? CUBLAS_OP_T : CUBLAS_OP_N;
    check(cublasLtMatmulDescSetAttribute(&product, which, &operation, sizeof(operation)));
  }
  static void layout(cublasLtMatrixLayoutOpaque_t& matrix, cudaDataType_t type, Transpose turned,
                     Extents extents) {
    if (turned == Transpose::yes) std::swap(extents.rows, extents.columns);
    check(cublasLtMatrixLayoutInit(&matrix, type, std::uint64_t(extents.rows), std::uint64_t(extents.columns),
                                   extents.stride));
  }
};

/// Algorithms by shape, and the memory that they share.
class Algorithms {
 public:
  static constexpr std::size_t kWorkspaceBytes = std::size_t{64} << 20;
  static constexpr std::size_t kMostShapes = 4096;  // packed batches differ in length: not for ever

  explicit Algorithms(Device& device) : blas_(device.blas()) {
    check(cudaMalloc(&workspace_, kWorkspaceBytes));
  }
  Algorithms(const Algorithms&) = delete;
  Algorithms& operator=(const Algorithms&) = delete;
  ~Algorithms() { static_cast<void>(cudaFree(workspace_)); }

  [[nodiscard]] void* workspace() const { return workspace_; }
  const cublasLtMatmulAlgo_t& of(const BlasProduct& product, Description& description) {
    const ShapeKey key = key_of(product);
    if (const auto found = known_.find(key); found != known_.end()) return found->second;
    if (known_.size() >= kMostShapes) known_.clear();
    return known_[key] = proposed(product, description);
  }

 private:
  [[nodiscard]] cublasLtMatmulAlgo_t proposed(const BlasProduct& product, Description& description) const {
    cublasLtMatmulPreferenceOpaque_t preference;
    check(cublasLtMatmulPreferenceInit(&preference));
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t which, const auto& value) {
      check(cublasLtMatmulPreferenceSetAttribute(&preference, which, &value, sizeof(value)));
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, std::uint32_t(alignment(product.a)));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, std::uint32_t(alignment(product.b)));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, std::uint32_t(alignment(product.c)));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, std::uint32_t(alignment(product.c)));
    cublasLtMatmulHeuristicResult_t result{};
    int count = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(blas_, &description.product, &description.a, &description.b,
                                       &description.c, &description.c, &preference, 1, &result, &count);
    if (status == CUBLAS_STATUS_SUCCESS && count > 0) return result.algo;
    throw std::runtime_error("cuBLASLt has no algorithm for [" + std::to_string(product.m) + ", " +
                             std::to_string(product.k) + "] x [" + std::to_string(product.k) + ", " +
                             std::to_string(product.n) + "]: " + cublasLtGetStatusString(status));
  }

  cublasLtHandle_t blas_;
  void* workspace_ = nullptr;
  std::map<ShapeKey, cublasLtMatmulAlgo_t> known_;
};

}  // namespace

void multiply(const BlasProduct& product, Queue<Space::device> queue) {
  Description description(product);
  auto& algorithms = queue.device->state<Algorithms>();
  const cublasLtMatmulAlgo_t& algorithm = algorithms.of(product, description);
  check(cublasLtMatmul(queue.device->blas(), &description.product, &product.alpha, product.a, &description.a,
                       product.b, &description.b, &product.beta, product.c, &description.c, product.c,
                       &description.c, &algorithm, algorithms.workspace(), Algorithms::kWorkspaceBytes,
                       queue.stream));
}

}  // namespace moebius::kernels
