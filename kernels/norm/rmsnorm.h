#pragma once
#include "base/bf16.h"
#include "kernels/into.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467), rounded where Hugging Face's `Qwen3MoeRMSNorm` rounds:
/// statistics in fp32, x * inv_rms becomes a T, then the gain is applied.
///
///   inv_rms[t] = 1 / sqrt(mean_c x[t,c]^2 + epsilon)        y[t,c] = x[t,c] * inv_rms[t] * gain[c]
///
/// T is float or bf16, G the type that gradients of weights are kept in. Host twins run at once and define
/// the answer; device twins queue their work. All throw ShapeError before they touch memory.
namespace moebius::kernels {

template <class T, Space S>
struct RmsNormForward {
  View<const T, 2, S> x;      // [tokens, hidden]
  View<const T, 1, S> gain;   // [hidden]
  View<T, 2, S> y;            // [tokens, hidden]; may be x
  View<float, 1, S> inv_rms;  // [tokens]; saved for backward
  float epsilon = 1e-6f;      // added to the mean square
};

/// The residual stream takes in a block's output and is normalised for the next block in the same pass:
/// sum = x + delta (rounded to T), y = rmsnorm(sum). Its backward is RmsNormBackward on `sum`, with `add`.
template <class T, Space S>
struct AddRmsNormForward {
  View<const T, 2, S> x;      // [tokens, hidden]; the residual stream
  View<const T, 2, S> delta;  // [tokens, hidden]; what the block computed
  View<const T, 1, S> gain;   // [hidden]
  View<T, 2, S> sum;          // [tokens, hidden]; the residual stream after it; may be x or delta
  View<T, 2, S> y;            // [tokens, hidden]; may be delta, not sum
  View<float, 1, S> inv_rms;  // [tokens]
  float epsilon = 1e-6f;
};

template <class T, Space S, class G = float>
struct RmsNormBackward {
  View<const T, 2, S> dy;           // [tokens, hidden]
  View<const T, 2, S> x;            // [tokens, hidden]; the forward input (of AddRmsNorm: sum)
  View<const T, 1, S> gain;         // [hidden]
  View<const float, 1, S> inv_rms;  // [tokens]; from forward
  View<const T, 2, S> add;          // [tokens, hidden] or empty; what reaches x on its other way, added to dx
  View<T, 2, S> dx;                 // [tokens, hidden]; overwritten; may be dy or add
  View<G, 1, S> dgain;              // [hidden]; or empty: not wanted
  Into into = Into::add;            // dgain
};

template <class T>
void rmsnorm_forward(const RmsNormForward<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void rmsnorm_forward(const RmsNormForward<T, Space::device>&, Queue<Space::device>);
template <class T>
void add_rmsnorm_forward(const AddRmsNormForward<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void add_rmsnorm_forward(const AddRmsNormForward<T, Space::device>&, Queue<Space::device>);
/// dgain is summed over blocks of 64 tokens, then over the blocks in order: the same for any thread count.
template <class T>
void rmsnorm_backward(const RmsNormBackward<T, Space::host>&, Queue<Space::host> = {});
template <class T, class G>
void rmsnorm_backward(const RmsNormBackward<T, Space::device, G>&, Queue<Space::device>);

template <class T, Space S>
void expect_shapes(const RmsNormForward<T, S>& op) {
  const auto [tokens, hidden] = op.x.shape;
  expect_shape("rmsnorm.gain", op.gain, {hidden});
  expect_shape("rmsnorm.y", op.y, {tokens, hidden});
  expect_shape("rmsnorm.inv_rms", op.inv_rms, {tokens});
}

template <class T, Space S>
void expect_shapes(const AddRmsNormForward<T, S>& op) {
  const auto [tokens, hidden] = op.x.shape;
  expect_shape("add_rmsnorm.delta", op.delta, {tokens, hidden});
  expect_shape("add_rmsnorm.gain", op.gain, {hidden});
  expect_shape("add_rmsnorm.sum", op.sum, {tokens, hidden});
  expect_shape("add_rmsnorm.y", op.y, {tokens, hidden});
  expect_shape("add_rmsnorm.inv_rms", op.inv_rms, {tokens});
}

template <class T, Space S, class G>
void expect_shapes(const RmsNormBackward<T, S, G>& op) {
  const auto [tokens, hidden] = op.x.shape;
  expect_shape("rmsnorm.dy", op.dy, {tokens, hidden});
  expect_shape("rmsnorm.gain", op.gain, {hidden});
  expect_shape("rmsnorm.inv_rms", op.inv_rms, {tokens});
  expect_shape("rmsnorm.dx", op.dx, {tokens, hidden});
  if (!op.add.empty()) expect_shape("rmsnorm.add", op.add, {tokens, hidden});
  if (!op.dgain.empty()) expect_shape("rmsnorm.dgain", op.dgain, {hidden});
}

}  // namespace moebius::kernels
