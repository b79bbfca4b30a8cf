#pragma once
#include "base/bf16.h"
#include "kernels/into.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// The linear layers of the experts: rows sorted by group, one weight a group. For the rows r of group g,
/// starts[g] <= r < starts[g+1]:
///
///   forward          y[r] = x[r] w[g]^T
///   input_gradient   dx[r] = dy[r] w[g]
///   weight_gradient  dw[g] (+)= sum_r dy[r]^T x[r]    (in row order)
///
/// Groups may be empty. Rows from starts[groups] on are room that was not needed: neither read nor written. G
/// is the type that gradients of weights are kept in.
namespace moebius::kernels {

template <class T, Space S>
struct GroupedGemmForward {
  View<const T, 2, S> x;                  // [rows, in]
  View<const T, 3, S> w;                  // [groups, out, in]
  View<const std::int32_t, 1, S> starts;  // [groups + 1]
  View<T, 2, S> y;                        // [rows, out]; overwritten
};

template <class T, Space S>
struct GroupedGemmInputGradient {
  View<const T, 2, S> dy;                 // [rows, out]
  View<const T, 3, S> w;                  // [groups, out, in]
  View<const std::int32_t, 1, S> starts;  // [groups + 1]
  View<T, 2, S> dx;                       // [rows, in]; overwritten
};

template <class T, Space S, class G = float>
struct GroupedGemmWeightGradient {
  View<const T, 2, S> dy;                 // [rows, out]
  View<const T, 2, S> x;                  // [rows, in]
  View<const std::int32_t, 1, S> starts;  // [groups + 1]
  View<G, 3, S> dw;                       // [groups, out, in]
  Into into = Into::add;                  // dw; overwrite: those of empty groups become zeros
};

template <class T>
void grouped_gemm_forward(const GroupedGemmForward<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void grouped_gemm_forward(const GroupedGemmForward<T, Space::device>&, Queue<Space::device>);
template <class T>
void grouped_gemm_input_gradient(const GroupedGemmInputGradient<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void grouped_gemm_input_gradient(const GroupedGemmInputGradient<T, Space::device>&, Queue<Space::device>);
template <class T>
void grouped_gemm_weight_gradient(const GroupedGemmWeightGradient<T, Space::host>&, Queue<Space::host> = {});
template <class T, class G>
void grouped_gemm_weight_gradient(const GroupedGemmWeightGradient<T, Space::device, G>&,
                                  Queue<Space::device>);

template <class T, Space S>
void expect_shapes(const GroupedGemmForward<T, S>& op) {
  const auto [groups, out, in] = op.w.shape;
  expect_shape("grouped_gemm.starts", op.starts, {groups + 1});
  expect_shape("grouped_gemm.x", op.x, {op.x.shape[0], in});
  expect_shape("grouped_gemm.y", op.y, {op.x.shape[0], out});
}

template <class T, Space S>
void expect_shapes(const GroupedGemmInputGradient<T, S>& op) {
  const auto [groups, out, in] = op.w.shape;
  expect_shape("grouped_gemm.starts", op.starts, {groups + 1});
  expect_shape("grouped_gemm.dy", op.dy, {op.dy.shape[0], out});
  expect_shape("grouped_gemm.dx", op.dx, {op.dy.shape[0], in});
}

template <class T, Space S, class G>
void expect_shapes(const GroupedGemmWeightGradient<T, S, G>& op) {
  const auto [groups, out, in] = op.dw.shape;
  expect_shape("grouped_gemm.starts", op.starts, {groups + 1});
  expect_shape("grouped_gemm.dy", op.dy, {op.dy.shape[0], out});
  expect_shape("grouped_gemm.x", op.x, {op.dy.shape[0], in});
}

}  // namespace moebius::kernels
