#include "layers/experts.h"

#include "kernels/dense/swiglu.h"
#include "kernels/moe/grouped_gemm.h"
#include "kernels/moe/permute.h"
#include "kernels/update/block_copy.h"

namespace moebius::layers {

template <Platform P>
void Experts<P>::plan(const Routes& routes, Saved& saved, Context<P>& context) const {
  Arena<kSpace>& kept = context.activations;
  saved.starts = kept.template make<std::int32_t>(weights.down.shape[0] + 1);
  saved.positions = kept.template make<std::int32_t>(routes.ids.shape);
  saved.assignments = kept.template make<std::int32_t>(routes.rows);
  saved.weights = routes.weights;
  saved.ids = routes.ids;
  saved.numbers = routes.numbers;
  kernels::permute_plan(kernels::PermutePlan<kSpace>{.ids = routes.ids,
                                                     .starts = saved.starts,
                                                     .positions = saved.positions,
                                                     .assignments = saved.assignments,
                                                     .first = first},
                        context.queue);
}

template <Platform P>
void Experts<P>::make_rows(Saved& saved, Context<P>& context) const {
  saved.rows = context.remade.template make<T>(saved.assignments.size(), weights.down.shape[1]);
}

template <Platform P>
void Experts<P>::activate(Saved& saved, Context<P>& context) const {
  mark(Part::experts, context.queue);
  const std::int64_t rows = saved.rows.shape[0], width = weights.down.shape[2];
  saved.gate_up = context.remade.template make<T>(rows, 2 * width);
  saved.active = context.remade.template make<T>(rows, width);
  kernels::grouped_gemm_forward(
      kernels::GroupedGemmForward<T, kSpace>{
          .x = saved.rows, .w = weights.gate_up, .starts = saved.starts, .y = saved.gate_up},
      context.queue);
  const Matrix<T, kSpace> gate_up = saved.gate_up;
  saved.projected.gate =
      adapter_gate(saved).forward(saved.rows, gate_up.column_block(0, width), context.remade, context);
  saved.projected.up =
      adapter_up(saved).forward(saved.rows, gate_up.column_block(width, width), context.remade, context);
  kernels::swiglu_forward(kernels::SwigluForward<T, kSpace>{.gate_up = saved.gate_up,
                                                            .weights = saved.weights.flat(),
                                                            .weight_of = saved.assignments,
                                                            .y = saved.active},
                          context.queue);
}

template <Platform P>
void Experts<P>::forward(Saved& saved, View<T, 2, kSpace> y, Context<P>& context) const {
  kernels::grouped_gemm_forward(
      kernels::GroupedGemmForward<T, kSpace>{
          .x = saved.active, .w = weights.down, .starts = saved.starts, .y = y},
      context.queue);
  saved.projected.down =
      adapter_down(saved).forward(saved.active, Matrix<T, kSpace>(y), context.activations, context);
}

template <Platform P>
auto Experts<P>::make_row_gradients(const Saved& saved, Context<P>& context) -> RowGradients {
  const View<T, 2, kSpace> dy = context.product_inputs().template make<T>(saved.rows.shape);
  return {dy, context.later == nullptr ? dy : context.workspace.template make<T>(saved.rows.shape)};
}

template <Platform P>
void Experts<P>::backward(const RowGradients& rows, View<float, 2, kSpace> dweights, const Saved& saved,
                          const Gradients& gradients, Context<P>& context) const {
  mark(Part::experts, context.queue);
  const ArenaScope scope(context.workspace);
  const View<T, 2, kSpace> dactive = context.workspace.template make<T>(saved.active.shape);
  const View<T, 2, kSpace> dgate_up = context.product_inputs().template make<T>(saved.gate_up.shape);
  using Product = kernels::GroupedGemmWeightGradient<T, kSpace, G>;
  context.weight_gradient(Product{
      .dy = rows.dy, .x = saved.active, .starts = saved.starts, .dw = gradients.down, .into = context.into});
  kernels::grouped_gemm_input_gradient(
      kernels::GroupedGemmInputGradient<T, kSpace>{
          .dy = rows.dy, .w = weights.down, .starts = saved.starts, .dx = dactive},
      context.queue);
  adapter_down(saved).backward(
      {.dy = rows.dy, .x = saved.active, .projected = saved.projected.down, .dx = dactive},
      gradients.adapter.down, context);
  kernels::swiglu_backward(kernels::SwigluBackward<T, kSpace>{.dy = dactive,
                                                              .gate_up = saved.gate_up,
                                                              .weights = saved.weights.flat(),
                                                              .weight_of = saved.assignments,
                                                              .dgate_up = dgate_up,
                                                              .dweights = dweights.flat()},
                           context.queue);
  context.weight_gradient(Product{.dy = dgate_up,
                                  .x = saved.rows,
                                  .starts = saved.starts,
                                  .dw = gradients.gate_up,
                                  .into = context.into});
  kernels::grouped_gemm_input_gradient(
      kernels::GroupedGemmInputGradient<T, kSpace>{
          .dy = dgate_up, .w = weights.gate_up, .starts = saved.starts, .dx = rows.dx},
      context.queue);
  backward_adapter_in(dgate_up, rows.dx, saved, gradients, context);
}

/// Of gate and up, from their gradient to that of their input, to which it is added.
template <Platform P>
void Experts<P>::backward_adapter_in(View<const T, 2, kSpace> dgate_up, View<T, 2, kSpace> dx,
                                     const Saved& saved, const Gradients& gradients,
                                     Context<P>& context) const {
  if (weights.adapter.gate.empty() && weights.adapter.up.empty()) return;
  const std::int64_t rows = dgate_up.shape[0], width = weights.down.shape[2];
  // Grouped products want rows without gaps.
  const auto part = [&](std::int64_t begin) {
    const View<T, 2, kSpace> columns = context.product_inputs().template make<T>(rows, width);
    kernels::block_copy(
        kernels::BlockCopy<T, T, kSpace>{.x = Matrix<const T, kSpace>(dgate_up).column_block(begin, width),
                                         .y = columns},
        context.queue);
    return columns;
  };
  const auto backward = [&](const ExpertLowRank<P>& adapter, std::int64_t begin,
                            View<const T, 2, kSpace> projected, const ExpertFactors<G, kSpace>& of) {
    if (adapter.weights.empty()) return;
    adapter.backward({.dy = part(begin), .x = saved.rows, .projected = projected, .dx = dx}, of, context);
  };
  backward(adapter_gate(saved), 0, saved.projected.gate, gradients.adapter.gate);
  backward(adapter_up(saved), width, saved.projected.up, gradients.adapter.up);
}

template <Platform P>
void Experts<P>::spread(View<const T, 2, kSpace> tokens, View<T, 2, kSpace> rows, const Saved& saved,
                        Context<P>& context) {
  kernels::spread_rows(kernels::SpreadRows<T, kSpace>{.x = tokens, .index = saved.positions, .y = rows},
                       context.queue);
}

template <Platform P>
void Experts<P>::sum(View<const T, 2, kSpace> rows, View<T, 2, kSpace> tokens, const Saved& saved,
                     Context<P>& context) {
  kernels::gather_sum(kernels::GatherSum<T, kSpace>{.x = rows, .index = saved.positions, .y = tokens},
                      context.queue);
}

#define INSTANTIATE(P) template struct Experts<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::layers
