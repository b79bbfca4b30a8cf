#include "kernels/moe/device/grouped_launch.cuh"
#include "kernels/moe/device/grouped_plain.cuh"
#include "kernels/moe/grouped_gemm.h"

namespace moebius::kernels {
namespace {

template <class T>
void multiply_plainly(const plain::RowProduct<T>& op, Queue<Space::device> queue) {
  const std::int64_t groups = op.starts.shape[0] - 1, rows = op.x.shape[0], columns = op.y.shape[1];
  const dim3 blocks(unsigned(rows / plain::kTile + groups),
                    unsigned(divide_up(columns, std::int64_t{plain::kTile})));
  plain::row_product<<<blocks, plain::kThreads, 0, queue.stream>>>(op);
  check(cudaGetLastError());
}

template <Into into, class T, class G>
void multiply_plainly(const GroupedGemmWeightGradient<T, Space::device, G>& op, Queue<Space::device> queue) {
  const auto [groups, out, in] = op.dw.shape;
  const std::int64_t tile = plain::kTile;
  const dim3 blocks(unsigned(divide_up(in, tile)), unsigned(divide_up(out, tile)), unsigned(groups));
  plain::weight_gradient<into><<<blocks, plain::kThreads, 0, queue.stream>>>(op);
  check(cudaGetLastError());
}

template <Into into, class T, class G>
void weight_gradient(const GroupedGemmWeightGradient<T, Space::device, G>& op, Queue<Space::device> queue) {
  const auto [groups, out, in] = op.dw.shape;
  if constexpr (std::is_same_v<T, bf16>) {
    const bool fits = fits_grouped_product(groups, out, in, {op.dy.data, op.x.data, op.dw.data});
    if (fits && op.dy.shape[0] > 0) return launch<into>(op, queue);
  }
  multiply_plainly<into>(op, queue);
}

}  // namespace

template <class T>
void grouped_gemm_forward(const GroupedGemmForward<T, Space::device>& op, Queue<Space::device> queue) {
  expect_shapes(op);
  const auto [groups, out, in] = op.w.shape;
  if (op.x.shape[0] == 0 || groups == 0 || out == 0) return;
  if constexpr (std::is_same_v<T, bf16>) {
    if (in > 0 && fits_grouped_product(groups, out, in, {op.x.data, op.w.data, op.y.data}))
      return launch(op, queue);
  }
  multiply_plainly<T>({.x = op.x,
                       .w = op.w.data,
                       .w_group = out * in,
                       .w_stride = in,
                       .w_depth_stride = 1,
                       .starts = op.starts,
                       .y = op.y},
                      queue);
}

template <class T>
void grouped_gemm_input_gradient(const GroupedGemmInputGradient<T, Space::device>& op,
                                 Queue<Space::device> queue) {
  expect_shapes(op);
  const auto [groups, out, in] = op.w.shape;
  if (op.dy.shape[0] == 0 || groups == 0 || in == 0) return;
  if constexpr (std::is_same_v<T, bf16>) {
    if (out > 0 && fits_grouped_product(groups, out, in, {op.dy.data, op.w.data, op.dx.data}))
      return launch(op, queue);
  }
  multiply_plainly<T>({.x = op.dy,
                       .w = op.w.data,
                       .w_group = out * in,
                       .w_stride = 1,
                       .w_depth_stride = in,
                       .starts = op.starts,
                       .y = op.dx},
                      queue);
}

template <class T, class G>
void grouped_gemm_weight_gradient(const GroupedGemmWeightGradient<T, Space::device, G>& op,
                                  Queue<Space::device> queue) {
  expect_shapes(op);
  if (op.dw.empty()) return;
  op.into == Into::add ? weight_gradient<Into::add>(op, queue) : weight_gradient<Into::overwrite>(op, queue);
}

template void grouped_gemm_forward(const GroupedGemmForward<float, Space::device>&, Queue<Space::device>);
template void grouped_gemm_forward(const GroupedGemmForward<bf16, Space::device>&, Queue<Space::device>);
template void grouped_gemm_input_gradient(const GroupedGemmInputGradient<float, Space::device>&,
                                          Queue<Space::device>);
template void grouped_gemm_input_gradient(const GroupedGemmInputGradient<bf16, Space::device>&,
                                          Queue<Space::device>);
template void grouped_gemm_weight_gradient(const GroupedGemmWeightGradient<float, Space::device, float>&,
                                           Queue<Space::device>);
template void grouped_gemm_weight_gradient(const GroupedGemmWeightGradient<bf16, Space::device, float>&,
                                           Queue<Space::device>);
template void grouped_gemm_weight_gradient(const GroupedGemmWeightGradient<bf16, Space::device, bf16>&,
                                           Queue<Space::device>);

}  // namespace moebius::kernels
