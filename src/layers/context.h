#pragma once
#include <string_view>

#include "kernels/into.h"
#include "layers/linear.h"
#include "layers/weight_products.h"
#include "parallel/exchange.h"
#include "tensor/arena.h"
#include "tensor/phase_clock.h"
#include "tensor/platform.h"
#include "tensor/transfer.h"

namespace moebius::layers {

using cluster::Axis;

/// Which inputs of adapters are dropped in training (kernels/dense/dropout.h).
template <Space S>
struct AdapterDropout {
  float probability = 0;  // 0: none
  std::uint64_t seed = 0;
  View<const std::int32_t, 2, S> numbers = {};  // [tokens, 2], of all tensor ranks: micro batch, place in it
};

/// What every layer works with: the other ranks, memory, and where the work is queued.
template <Platform P>
struct Context {
  parallel::Exchange<P::kSpace>& exchange;
  Arena<P::kSpace>& activations;  // what Saved structs view: valid until the caller releases it
  Arena<P::kSpace>& remade;       // what they view and `remake` can make again; may be `activations`
  Arena<P::kSpace>& workspace;    // gone when the function that made it returns
  Staging<P::kSpace>& staging;  // host memory that copies are still using: valid until the caller releases it
  Queue<P::kSpace> queue;
  kernels::Into into = kernels::Into::add;  // gradients of weights
  WeightProducts<P>* later = nullptr;       // takes the products that give them; none: backward computes them
  AdapterDropout<P::kSpace> dropout = {};

  [[nodiscard]] std::int64_t degree(Axis axis) const { return exchange.mesh().degree(axis); }
  /// Where backward makes what the gradient of a weight is a product of: it lasts until the product's turn.
  [[nodiscard]] Arena<P::kSpace>& product_inputs() { return later == nullptr ? workspace : later->memory(); }
  /// Now, or later; nothing where the weight does not learn, whose gradient is an empty view.
  void weight_gradient(const typename WeightProducts<P>::Product& product) {
    if (!WeightProducts<P>::is_wanted(product)) return;
    if (later == nullptr)
      WeightProducts<P>::compute(product, queue);
    else
      later->add(product, queue);
  }
};

/// dw [out, in] = dy^T [out, rows] x [rows, in], or added to dw, as the context says: now, or later. dy and x
/// are product inputs or what forward kept. An empty dw: nothing.
template <Platform P>
void weight_gradient(Matrix<const typename P::Storage, P::kSpace> dy,
                     Matrix<const typename P::Storage, P::kSpace> x,
                     Matrix<typename P::Gradient, P::kSpace> dw, Context<P>& context) {
  context.weight_gradient(
      weight_product<typename P::Storage, typename P::Gradient, P::kSpace>(dy, x, dw, context.into));
}

/// Tokens of a micro batch without its padding.
struct RealTokens {
  std::int64_t here = 0;  // of this context rank, all tensor ranks together
  std::int64_t of_micro_batch = 0;
};

/// What the backward of a block starts from, and where it writes; [tokens / tensor, hidden] each.
template <Platform P>
struct BlockGradient {
  View<const typename P::Storage, 2, P::kSpace> ddelta;  // of the block's output
  View<typename P::Storage, 2, P::kSpace> dnormed;       // of its input; overwritten
};

/// Sequence parallelism: between blocks a tensor rank holds [tokens / tensor, width], its part of the tokens
/// in order; inside attention and dense blocks all tokens and its part of the heads or of the width.
///
/// The parts of all tensor ranks put together, as an input of products; without a tensor axis the part
/// itself.
template <Platform P>
[[nodiscard]] View<const typename P::Storage, 2, P::kSpace> gather_tokens(
    std::string_view name, View<const typename P::Storage, 2, P::kSpace> part, Context<P>& context);

/// The same of a part that changes when the caller goes on: a copy where products wait for their turn.
template <Platform P>
[[nodiscard]] View<const typename P::Storage, 2, P::kSpace> gather_gradient(
    std::string_view name, View<const typename P::Storage, 2, P::kSpace> part, Context<P>& context);

/// Where a block writes its share of a sum over the tensor ranks, [tokens, width]: in the workspace, or,
/// where there is nothing to add, straight into `part`.
template <Platform P>
[[nodiscard]] View<typename P::Storage, 2, P::kSpace> partial_sums(
    View<typename P::Storage, 2, P::kSpace> part, Context<P>& context);

/// The adjoint of gather_tokens: part = this rank's tokens of the sum over the tensor ranks of `whole`, which
/// partial_sums made.
template <Platform P>
void sum_to_parts(std::string_view name, View<const typename P::Storage, 2, P::kSpace> whole,
                  View<typename P::Storage, 2, P::kSpace> part, Context<P>& context);

}  // namespace moebius::layers
