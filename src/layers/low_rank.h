#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "kernels/dense/dropout.h"
#include "layers/context.h"

/// Adapters (LoRA, Hu et al. 2021, arXiv:2106.09685): a weight w [out, in] works as w + scale * b a, where a
/// and b are small and the only ones that learn. What is computed is x w^T + scale * (dropout(x) a^T) b^T; w
/// is never changed.
///
/// Of a weight that is split over ranks, a has the same part of its inputs and b the same part of its
/// outputs. Where w gives partial sums, so does the adapter, and both are summed over the ranks together.
namespace moebius::layers {

/// E: const T for weights, the type of gradients for those. Both empty: the weight has no adapter.
template <class E, Space S>
struct Factors {
  View<E, 2, S> a;  // [rank, in]
  View<E, 2, S> b;  // [out, rank]

  [[nodiscard]] bool empty() const { return a.data == nullptr; }
};

/// The same of each expert of this rank.
template <class E, Space S>
struct ExpertFactors {
  View<E, 3, S> a;  // [experts, rank, in]
  View<E, 3, S> b;  // [experts, out, rank]

  [[nodiscard]] bool empty() const { return a.data == nullptr; }
};

/// Which weight an adapter belongs to, as far as its dropout asks.
struct AdaptedWeight {
  std::string_view layer;          // "layers.3.attention"
  const char* name;                // "q"
  std::optional<Axis> split = {};  // over whose ranks its inputs are cut

  [[nodiscard]] std::uint32_t tensor() const { return tensor_id(std::string(layer) + "." + name); }
};

/// The adapter of one weight. Without factors its functions do nothing.
template <Platform P>
struct LowRank {
  using T = typename P::Storage;
  using G = typename P::Gradient;
  static constexpr Space kSpace = P::kSpace;

  Factors<const T, kSpace> weights;
  float scale = 1;
  AdaptedWeight of;
  Range tokens = {};  // the rows, among the tokens of all tensor ranks; empty: all of them

  /// y [rows, out] += scale * (dropout(x) a^T) b^T, x [rows, in]. Returns scale * dropout(x) a^T, [rows,
  /// rank], made in `kept`: what backward wants. Out: T or float. With dropout the workspace takes [rows, in]
  /// meanwhile.
  template <class Out>
  View<T, 2, kSpace> forward(Matrix<const T, kSpace> x, Matrix<Out, kSpace> y, Arena<kSpace>& kept,
                             Context<P>& context) const;
  struct Gradient {
    Matrix<const T, kSpace> dy;          // [rows, out]; with x an input of products, see Context
    Matrix<const T, kSpace> x;           // [rows, in]
    View<const T, 2, kSpace> projected;  // [rows, rank]; what forward returned
    Matrix<T, kSpace> dx;                // [rows, in]; added to
  };
  /// With dropout the workspace takes [rows, in] meanwhile, and the inputs of products another.
  void backward(const Gradient& gradient, const Factors<G, kSpace>& gradients, Context<P>& context) const;

 private:
  void drop(Matrix<const T, kSpace> x, Matrix<T, kSpace> y, kernels::Into into, Context<P>& context) const;
};

/// Rows of tokens that went to experts (layers/experts.h), as far as dropout asks.
template <Space S>
struct ExpertRows {
  View<const std::int32_t, 1, S> starts;       // [experts + 1]
  View<const std::int32_t, 1, S> assignments;  // [rows]
  View<const std::int32_t, 2, S> ids;          // [tokens, top_k]; with dropout
  View<const std::int32_t, 2, S> numbers;      // [tokens, 2]; with dropout
  std::int64_t all_experts = 0;
};

/// The adapter of one weight of all experts here, on rows sorted by expert (kernels/moe/grouped_gemm.h).
template <Platform P>
struct ExpertLowRank {
  using T = typename P::Storage;
  using G = typename P::Gradient;
  static constexpr Space kSpace = P::kSpace;

  ExpertFactors<const T, kSpace> weights;
  float scale = 1;
  AdaptedWeight of;
  ExpertRows<kSpace> rows;

  /// As LowRank; the workspace takes [rows, out] meanwhile.
  View<T, 2, kSpace> forward(View<const T, 2, kSpace> x, Matrix<T, kSpace> y, Arena<kSpace>& kept,
                             Context<P>& context) const;
  struct Gradient {
    View<const T, 2, kSpace> dy, x, projected;  // as LowRank::Gradient
    Matrix<T, kSpace> dx;
  };
  /// The workspace takes [rows, in] meanwhile.
  void backward(const Gradient& gradient, const ExpertFactors<G, kSpace>& gradients,
                Context<P>& context) const;

 private:
  void drop(Matrix<const T, kSpace> x, Matrix<T, kSpace> y, kernels::Into into, Context<P>& context) const;
};

}  // namespace moebius::layers
