#pragma once
#include "base/bf16.h"
#include "kernels/into.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// What happens to queries and keys between projection and attention, in one pass: RMSNorm of each head
/// (Qwen3; left out where the gains are empty), then rotary embedding of the first rotary_dim = 2 * half
/// entries of each head, in the half-split layout of Hugging Face (entry i turns with entry i + half):
///
///   n = x / rms(x) * gain          y[i] = n[i] cos - n[i+half] sin          y[i+half] = n[i+half] cos + n[i]
///   sin
///
/// x is the q and k columns of a packed q|k|v projection; q and k leave it for tensors of their own, which is
/// how attention wants them.
namespace moebius::kernels {

template <class T, Space S>
struct QkNormRopeForward {
  Matrix<const T, S> x;                      // [tokens, (heads + kv_heads) * head_dim]; heads of q, then of k
  Matrix<T, S> q;                            // [tokens, heads * head_dim]; may be its columns of x
  Matrix<T, S> k;                            // [tokens, kv_heads * head_dim]; likewise
  View<const T, 1, S> q_gain, k_gain;        // [head_dim], or both empty: no norm
  View<const float, 2, S> cosine, sine;      // [positions, rotary_dim / 2]; see rope_table.h
  View<const std::int32_t, 1, S> positions;  // [tokens]; row of the tables
  View<float, 2, S> inv_rms;  // [tokens, heads + kv_heads], saved for backward; empty without norm
  std::int64_t heads = 0, kv_heads = 0;
  float epsilon = 1e-6f;
};

template <class T, Space S, class G = float>
struct QkNormRopeBackward {
  Matrix<const T, S> dq, dk;           // [tokens, heads * head_dim], [tokens, kv_heads * head_dim]
  Matrix<const T, S> x;                // the forward input; not read (may be empty) without norm
  View<const T, 1, S> q_gain, k_gain;  // as in forward
  View<const float, 2, S> cosine, sine;
  View<const std::int32_t, 1, S> positions;
  View<const float, 2, S> inv_rms;
  Matrix<T, S> dx;  // [tokens, (heads + kv_heads) * head_dim]; overwritten; dq and dk may be its columns
  View<G, 1, S> q_dgain, k_dgain;  // [head_dim]; empty: not wanted
  Into into = Into::add;           // q_dgain, k_dgain
  std::int64_t heads = 0, kv_heads = 0;
};

/// Head `head` of `token`, counted through q and then k.
template <class T, Space S>
constexpr T* head_of(const Matrix<T, S>& q, const Matrix<T, S>& k, std::int64_t token, std::int64_t head,
                     std::int64_t head_dim) {
  const std::int64_t column = head * head_dim;
  return column < q.columns ? q.row(token) + column : k.row(token) + (column - q.columns);
}

template <class T>
void qk_norm_rope_forward(const QkNormRopeForward<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void qk_norm_rope_forward(const QkNormRopeForward<T, Space::device>&, Queue<Space::device>);
/// The dgains are summed over blocks of 64 tokens, then over the blocks in order.
template <class T>
void qk_norm_rope_backward(const QkNormRopeBackward<T, Space::host>&, Queue<Space::host> = {});
template <class T, class G>
void qk_norm_rope_backward(const QkNormRopeBackward<T, Space::device, G>&, Queue<Space::device>);

/// What both directions demand. `tokens` and `columns` are those of the gradient or input that is there
/// always.
template <class Op>
void expect_qk_norm_rope_shapes(const Op& op, std::int64_t tokens, std::int64_t columns) {
  const std::int64_t all_heads = op.heads + op.kv_heads;
  const std::int64_t head_dim = all_heads == 0 ? 0 : columns / all_heads;
  const auto [table_rows, half] = op.cosine.shape;
  if (head_dim * all_heads != columns || 2 * half > head_dim) {
    throw ShapeError("qk_norm_rope: " + std::to_string(columns) + " columns for " +
                     std::to_string(all_heads) + " heads, rotary_dim " + std::to_string(2 * half));
  }
  expect_shape("qk_norm_rope.sine", op.sine, {table_rows, half});
  expect_shape("qk_norm_rope.positions", op.positions, {tokens});
  if (op.q_gain.empty() && op.k_gain.empty()) return;
  expect_shape("qk_norm_rope.q_gain", op.q_gain, {head_dim});
  expect_shape("qk_norm_rope.k_gain", op.k_gain, {head_dim});
  expect_shape("qk_norm_rope.inv_rms", op.inv_rms, {tokens, all_heads});
}

template <class T, Space S>
void expect_shapes(const QkNormRopeForward<T, S>& op) {
  expect_qk_norm_rope_shapes(op, op.x.rows, op.x.columns);
  const std::int64_t head_dim = op.heads + op.kv_heads == 0 ? 0 : op.x.columns / (op.heads + op.kv_heads);
  expect_shape("qk_norm_rope.q", op.q, {op.x.rows, op.heads * head_dim});
  expect_shape("qk_norm_rope.k", op.k, {op.x.rows, op.kv_heads * head_dim});
}

template <class T, Space S, class G>
void expect_shapes(const QkNormRopeBackward<T, S, G>& op) {
  expect_qk_norm_rope_shapes(op, op.dx.rows, op.dx.columns);
  const std::int64_t head_dim = op.heads + op.kv_heads == 0 ? 0 : op.dx.columns / (op.heads + op.kv_heads);
  expect_shape("qk_norm_rope.dq", op.dq, {op.dx.rows, op.heads * head_dim});
  expect_shape("qk_norm_rope.dk", op.dk, {op.dx.rows, op.kv_heads * head_dim});
  if (op.q_gain.empty()) return;
  expect_shape("qk_norm_rope.x", op.x, {op.dx.rows, op.dx.columns});
  if (!op.q_dgain.empty()) expect_shape("qk_norm_rope.q_dgain", op.q_dgain, op.q_gain.shape);
  if (!op.k_dgain.empty()) expect_shape("qk_norm_rope.k_dgain", op.k_dgain, op.k_gain.shape);
}

}  // namespace moebius::kernels
