#pragma once
#include "base/bf16.h"
#include "tensor/queue.h"
#include "tensor/view.h"

/// Causal attention over packed segments with grouped queries, online softmax, memory linear in length
/// (Dao et al. 2022, arXiv:2205.14135). Query head h reads key and value head h / (heads / kv_heads).
///
///   s[i,j] = scale * <q[i], k[j]>      y[i] = sum_j softmax_j(s[i,:]) v[j]      log_sum_exp[i] = log sum_j
///   exp(s[i,j])
///
/// Segment n owns queries query_starts[n] .. query_starts[n+1]-1 and keys from key_starts[n]. Causal order is
/// aligned at the end: with Q queries and K keys, query i sees keys j <= i + K - Q, so the same operation
/// trains (Q = K) and decodes against a cache (Q < K; never Q > K). Rows of y, of log_sum_exp and of the
/// gradients that no segment owns are written as zeros.
///
/// Attention in parts (context parallelism): with Mask::nothing every query of a segment sees all of its
/// keys, however many; a row of log_sum_exp that sees none is -infinity, and merge_attention.h puts the parts
/// together. Backward takes y and log_sum_exp of the whole, and gives what the keys of this part add to dq,
/// and all of their dk and dv that these queries add.
///
/// The device twin has two paths. cuDNN's kernels train: bf16, heads of 64 or 128, a multiple of 128 rows, as
/// many keys as queries or no mask, dq with the rows of q and dk with those of k; the sums of dq are taken in
/// any order. There no segment may be empty, and rows of padding must hold finite numbers. Plain kernels of
/// ours do the rest: fp32, decoding, other sizes; their results are the same in every run.
namespace moebius::kernels {

enum class Mask : std::uint8_t { causal, nothing };

/// Where the segments lie. All in elements of the first dim of q (queries) and of k and v (keys).
template <Space S>
struct Segments {
  View<const std::int32_t, 1, S> query_starts;  // [segments + 1], rising
  View<const std::int32_t, 1, S> key_starts;    // [segments + 1], rising; in training the same view
  View<const std::int32_t, 1, S> key_counts;    // [segments], or empty: key_starts[n+1] - key_starts[n];
                                                // for caches with room left at the end of each segment
  View<const std::int32_t, 1, S> query_counts;  // [segments], or empty, likewise: the first of the queries
  Mask mask = Mask::causal;
  // What the host knows of them. Only the device twin reads these, to choose among few prepared plans.
  std::int64_t longest = 0;       // queries of the longest segment, or more; 0: unknown
  std::int64_t longest_keys = 0;  // the same of keys, with Mask::nothing
  std::int64_t padding = 0;       // rows of q behind the last segment, or fewer; 0: unknown
};

template <class T, Space S>
struct AttentionForward {
  Matrix<const T, S> q;     // [query_tokens, heads * head_dim]
  Matrix<const T, S> k, v;  // [key_tokens, kv_heads * head_dim]
  Segments<S> segments;
  Matrix<T, S> y;                 // [query_tokens, heads * head_dim]
  View<float, 2, S> log_sum_exp;  // [query_tokens, heads], saved for backward; or empty
  std::int64_t heads = 0, kv_heads = 0;
  float scale = 1;  // 1 / sqrt(head_dim) as a rule
};

template <class T, Space S>
struct AttentionBackward {
  Matrix<const T, S> dy;    // [query_tokens, heads * head_dim]
  Matrix<const T, S> q, y;  // [query_tokens, heads * head_dim]
  Matrix<const T, S> k, v;  // [key_tokens, kv_heads * head_dim]
  Segments<S> segments;
  View<const float, 2, S> log_sum_exp;  // [query_tokens, heads]
  Matrix<T, S> dq;                      // overwritten
  Matrix<T, S> dk, dv;  // overwritten; summed over the query heads of a group, then over queries, in order
  std::int64_t heads = 0, kv_heads = 0;
  float scale = 1;
};

template <class T>
void attention_forward(const AttentionForward<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void attention_forward(const AttentionForward<T, Space::device>&, Queue<Space::device>);
template <class T>
void attention_backward(const AttentionBackward<T, Space::host>&, Queue<Space::host> = {});
template <class T>
void attention_backward(const AttentionBackward<T, Space::device>&, Queue<Space::device>);

/// What a block of a product on the host, and a tile on the device, can hold.
inline constexpr std::int64_t kLargestHeadDim = 256;

struct AttentionSizes {
  std::int64_t tokens = 0, heads = 0, kv_heads = 0, head_dim = 0;
};

/// The scratch memory of the device twins in bf16, the larger of forward and backward: cuDNN's sums of dq in
/// fp32, its dk and dv of every query head (as wide as fp32, where heads share keys), <dy, y>, and dv before
/// it is copied.
[[nodiscard]] constexpr std::int64_t attention_scratch_bytes(const AttentionSizes& sizes) {
  const std::int64_t queries = sizes.tokens * sizes.heads * sizes.head_dim;
  const std::int64_t sums = (sizes.heads == sizes.kv_heads ? 1 : 3) * queries * std::int64_t(sizeof(float));
  const std::int64_t products = sizes.tokens * sizes.heads * std::int64_t(sizeof(float));
  const std::int64_t values = sizes.tokens * sizes.kv_heads * sizes.head_dim * std::int64_t(sizeof(bf16));
  const std::int64_t lists = std::int64_t{1} << 20;  // of sequences; what cuDNN itself takes is less
  return sums + products + values + lists;
}

template <class Op>
void expect_attention_shapes(const Op& op) {
  const std::int64_t head_dim = op.heads == 0 ? 0 : op.q.columns / op.heads;
  if (head_dim * op.heads != op.q.columns || op.kv_heads == 0 || op.heads % op.kv_heads != 0) {
    throw ShapeError("attention: " + std::to_string(op.q.columns) + " columns of q for " +
                     std::to_string(op.heads) + " heads, " + std::to_string(op.kv_heads) + " kv_heads");
  }
  if (head_dim > kLargestHeadDim) {
    throw ShapeError("attention: head_dim " + std::to_string(head_dim) + ", built for up to " +
                     std::to_string(kLargestHeadDim));
  }
  expect_shape("attention.k", op.k, {op.k.rows, op.kv_heads * head_dim});
  expect_shape("attention.v", op.v, {op.k.rows, op.kv_heads * head_dim});
  expect_shape("attention.y", op.y, {op.q.rows, op.q.columns});
  expect_shape("attention.key_starts", op.segments.key_starts, op.segments.query_starts.shape);
  const std::int64_t segments = op.segments.query_starts.shape[0] - 1;
  if (!op.segments.key_counts.empty())
    expect_shape("attention.key_counts", op.segments.key_counts, {segments});
  if (!op.segments.query_counts.empty())
    expect_shape("attention.query_counts", op.segments.query_counts, {segments});
  if (!op.log_sum_exp.empty()) expect_shape("attention.log_sum_exp", op.log_sum_exp, {op.q.rows, op.heads});
}

template <class T, Space S>
void expect_shapes(const AttentionForward<T, S>& op) {
  expect_attention_shapes(op);
}

template <class T, Space S>
void expect_shapes(const AttentionBackward<T, S>& op) {
  expect_attention_shapes(op);
  expect_shape("attention.dy", op.dy, {op.q.rows, op.q.columns});
  expect_shape("attention.log_sum_exp", op.log_sum_exp, {op.q.rows, op.heads});
  expect_shape("attention.dq", op.dq, {op.q.rows, op.q.columns});
  expect_shape("attention.dk", op.dk, {op.k.rows, op.k.columns});
  expect_shape("attention.dv", op.dv, {op.k.rows, op.k.columns});
}

}  // namespace moebius::kernels
