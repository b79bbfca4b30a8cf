#include "layers/low_rank.h"

#include "kernels/update/block_copy.h"
#include "kernels/update/elementwise.h"
#include "layers/linear.h"

namespace moebius::layers {

namespace {

/// What all uses of dropout have in common; the rows are told by the caller.
template <Platform P>
kernels::Dropout<typename P::Storage, P::kSpace> dropout_of(const AdaptedWeight& weight, std::int64_t columns,
                                                            const Context<P>& context) {
  const cluster::Mesh& mesh = context.exchange.mesh();
  const std::int64_t parts = weight.split ? mesh.degree(*weight.split) : 1;
  return {.first_column = weight.split ? mesh.index(*weight.split) * columns : 0,
          .all_columns = parts * columns,
          .probability = context.dropout.probability,
          .seed = context.dropout.seed,
          .tensor = weight.tensor()};
}

}  // namespace

template <Platform P>
void LowRank<P>::drop(Matrix<const T, kSpace> x, Matrix<T, kSpace> y, Into into, Context<P>& context) const {
  kernels::Dropout<T, kSpace> op = dropout_of(of, x.columns, context);
  op.x = x, op.y = y, op.into = into;
  op.numbers = context.dropout.numbers;
  if (tokens.size() > 0) op.numbers = op.numbers.slice(tokens.begin, tokens.size());
  kernels::dropout(op, context.queue);
}

template <Platform P>
template <class Out>
auto LowRank<P>::forward(Matrix<const T, kSpace> x, Matrix<Out, kSpace> y, Arena<kSpace>& kept,
                         Context<P>& context) const -> View<T, 2, kSpace> {
  if (weights.empty()) return {};
  const View<T, 2, kSpace> projected = kept.template make<T>(x.rows, weights.a.shape[0]);
  const ArenaScope scope(context.workspace);
  if (context.dropout.probability > 0) {
    const View<T, 2, kSpace> left = context.workspace.template make<T>(x.rows, x.columns);
    drop(x, left, Into::overwrite, context);
    x = left;
  }
  kernels::gemm(
      kernels::Gemm<T, kSpace>{
          .a = x, .b = weights.a, .c = projected, .transpose_b = kernels::Transpose::yes, .alpha = scale},
      context.queue);
  kernels::gemm(
      kernels::Gemm<T, kSpace, Out>{
          .a = projected, .b = weights.b, .c = y, .transpose_b = kernels::Transpose::yes, .beta = 1},
      context.queue);
  return projected;
}

template <Platform P>
void LowRank<P>::backward(const Gradient& gradient, const Factors<G, kSpace>& gradients,
                          Context<P>& context) const {
  if (weights.empty()) return;
  const View<T, 2, kSpace> dprojected = context.product_inputs().template make<T>(gradient.projected.shape);
  kernels::gemm(kernels::Gemm<T, kSpace>{.a = gradient.dy, .b = weights.b, .c = dprojected, .alpha = scale},
                context.queue);
  weight_gradient<P>(gradient.dy, gradient.projected, gradients.b, context);
  if (context.dropout.probability == 0) {
    weight_gradient<P>(dprojected, gradient.x, gradients.a, context);
    return linear_input_gradient<T, kSpace>(dprojected, weights.a, gradient.dx, Into::add, context.queue);
  }
  const Matrix<const T, kSpace>& x = gradient.x;
  const View<T, 2, kSpace> left = context.product_inputs().template make<T>(x.rows, x.columns);
  drop(x, left, Into::overwrite, context);
  weight_gradient<P>(dprojected, left, gradients.a, context);
  const ArenaScope scope(context.workspace);
  const View<T, 2, kSpace> dleft = context.workspace.template make<T>(x.rows, x.columns);
  linear_input_gradient<T, kSpace>(dprojected, weights.a, dleft, Into::overwrite, context.queue);
  drop(dleft, gradient.dx, Into::add, context);
}

template <Platform P>
void ExpertLowRank<P>::drop(Matrix<const T, kSpace> x, Matrix<T, kSpace> y, Into into,
                            Context<P>& context) const {
  kernels::Dropout<T, kSpace> op = dropout_of(of, x.columns, context);
  op.x = x, op.y = y, op.into = into;
  op.numbers = rows.numbers;
  op.assignments = rows.assignments;
  op.ids = rows.ids;
  op.experts = rows.all_experts;
  kernels::dropout(op, context.queue);
}

template <Platform P>
auto ExpertLowRank<P>::forward(View<const T, 2, kSpace> x, Matrix<T, kSpace> y, Arena<kSpace>& kept,
                               Context<P>& context) const -> View<T, 2, kSpace> {
  if (weights.empty()) return {};
  const View<T, 2, kSpace> projected = kept.template make<T>(x.shape[0], weights.a.shape[1]);
  const ArenaScope scope(context.workspace);
  const View<T, 2, kSpace> part = context.workspace.template make<T>(y.rows, y.columns);
  if (context.dropout.probability > 0) {
    const View<T, 2, kSpace> left = context.workspace.template make<T>(x.shape);
    drop(x, left, Into::overwrite, context);
    x = left;
  }
  kernels::grouped_gemm_forward(
      kernels::GroupedGemmForward<T, kSpace>{.x = x, .w = weights.a, .starts = rows.starts, .y = projected},
      context.queue);
  kernels::scale<T>(projected.flat(), scale, context.queue);
  kernels::grouped_gemm_forward(
      kernels::GroupedGemmForward<T, kSpace>{
          .x = projected, .w = weights.b, .starts = rows.starts, .y = part},
      context.queue);
  kernels::block_copy(kernels::BlockCopy<T, T, kSpace>{.x = part, .y = y, .into = Into::add}, context.queue);
  return projected;
}

template <Platform P>
void ExpertLowRank<P>::backward(const Gradient& gradient, const ExpertFactors<G, kSpace>& gradients,
                                Context<P>& context) const {
  if (weights.empty()) return;
  const bool drops = context.dropout.probability > 0;
  const View<T, 2, kSpace> dprojected = context.product_inputs().template make<T>(gradient.projected.shape);
  View<const T, 2, kSpace> x = gradient.x;
  if (drops) {
    const View<T, 2, kSpace> left = context.product_inputs().template make<T>(x.shape);
    drop(x, left, Into::overwrite, context);
    x = left;
  }
  const ArenaScope scope(context.workspace);
  const View<T, 2, kSpace> part = context.workspace.template make<T>(x.shape);
  kernels::grouped_gemm_input_gradient(
      kernels::GroupedGemmInputGradient<T, kSpace>{
          .dy = gradient.dy, .w = weights.b, .starts = rows.starts, .dx = dprojected},
      context.queue);
  kernels::scale<T>(dprojected.flat(), scale, context.queue);
  using Product = kernels::GroupedGemmWeightGradient<T, kSpace, G>;
  context.weight_gradient(Product{.dy = gradient.dy,
                                  .x = gradient.projected,
                                  .starts = rows.starts,
                                  .dw = gradients.b,
                                  .into = context.into});
  context.weight_gradient(
      Product{.dy = dprojected, .x = x, .starts = rows.starts, .dw = gradients.a, .into = context.into});
  kernels::grouped_gemm_input_gradient(
      kernels::GroupedGemmInputGradient<T, kSpace>{
          .dy = dprojected, .w = weights.a, .starts = rows.starts, .dx = part},
      context.queue);
  if (drops) return drop(part, gradient.dx, Into::add, context);
  kernels::block_copy(kernels::BlockCopy<T, T, kSpace>{.x = part, .y = gradient.dx, .into = Into::add},
                      context.queue);
}

#define INSTANTIATE(P)                                                                                    \
  template struct LowRank<P>;                                                                             \
  template View<P::Storage, 2, P::kSpace> LowRank<P>::forward(                                            \
      Matrix<const P::Storage, P::kSpace>, Matrix<P::Storage, P::kSpace>, Arena<P::kSpace>&, Context<P>&) \
      const;                                                                                              \
  template struct ExpertLowRank<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)
#undef INSTANTIATE
#if MOEBIUS_CUDA
#define INSTANTIATE_LOGITS(P)                                  \
  template View<P::Storage, 2, P::kSpace> LowRank<P>::forward( \
      Matrix<const P::Storage, P::kSpace>, Matrix<float, P::kSpace>, Arena<P::kSpace>&, Context<P>&) const;
INSTANTIATE_LOGITS(DeviceBf16)
INSTANTIATE_LOGITS(DeviceBf16Gradients)
#undef INSTANTIATE_LOGITS
#endif

}  // namespace moebius::layers
