#include "layers/attention.h"

#include "kernels/attention/qk_norm_rope.h"
#include "kernels/dense/bias.h"
#include "layers/linear.h"

namespace moebius::layers {

template <Platform P>
void Attention<P>::project(View<const T, 2, kSpace> normed, View<const std::int32_t, 1, kSpace> positions,
                           Saved& saved, Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  const View<const T, 2, kSpace> x = gather_tokens(name, normed, context);
  const std::int64_t tokens = x.shape[0];
  saved.normed = normed;
  saved.qkv = context.activations.template make<T>(tokens, qkv_columns());
  linear<T, T, kSpace>(x, weights.qkv, saved.qkv, context.queue);
  if (!weights.qkv_bias.empty()) {
    kernels::bias_forward(kernels::BiasForward<T, kSpace>{.bias = weights.qkv_bias, .y = saved.qkv},
                          context.queue);
  }
  const Matrix<T, kSpace> before = Matrix<T, kSpace>(saved.qkv).column_block(0, qk_columns());
  const bool has_norm = !weights.q_norm.empty();
  saved.qk =
      has_norm ? Matrix<T, kSpace>(context.activations.template make<T>(tokens, qk_columns())) : before;
  if (has_norm) saved.head_inv_rms = context.activations.template make<float>(tokens, heads + kv_heads);
  kernels::qk_norm_rope_forward(kernels::QkNormRopeForward<T, kSpace>{.x = before,
                                                                      .y = saved.qk,
                                                                      .q_gain = weights.q_norm,
                                                                      .k_gain = weights.k_norm,
                                                                      .cosine = rope.cosine,
                                                                      .sine = rope.sine,
                                                                      .positions = positions,
                                                                      .inv_rms = saved.head_inv_rms,
                                                                      .heads = heads,
                                                                      .kv_heads = kv_heads,
                                                                      .epsilon = epsilon},
                                context.queue);
}

template <Platform P>
void Attention<P>::project_out(View<const T, 2, kSpace> attended, View<T, 2, kSpace> delta,
                               Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  const View<T, 2, kSpace> whole = partial_sums(delta, context);
  linear<T, T, kSpace>(attended, weights.output, whole, context.queue);
  sum_to_parts<P>(name, whole, delta, context);
  if (weights.output_bias.empty()) return;
  kernels::bias_forward(kernels::BiasForward<T, kSpace>{.bias = weights.output_bias, .y = delta},
                        context.queue);
}

template <Platform P>
void Attention<P>::forward(View<const T, 2, kSpace> normed, const TokenPlaces<kSpace>& places,
                           View<T, 2, kSpace> delta, Saved& saved, Context<P>& context) const {
  project(normed, places.positions, saved, context);
  const std::int64_t tokens = saved.qkv.shape[0];
  saved.attended = context.activations.template make<T>(tokens, heads * head_dim);
  saved.log_sum_exp = context.activations.template make<float>(heads, tokens);
  const Matrix<T, kSpace> v = Matrix<T, kSpace>(saved.qkv).column_block(qk_columns(), kv_heads * head_dim);
  kernels::attention_forward(
      kernels::AttentionForward<T, kSpace>{.q = saved.qk.column_block(0, heads * head_dim),
                                           .k = saved.qk.column_block(heads * head_dim, kv_heads * head_dim),
                                           .v = v,
                                           .segments = places.segments,
                                           .y = saved.attended,
                                           .log_sum_exp = saved.log_sum_exp,
                                           .heads = heads,
                                           .kv_heads = kv_heads,
                                           .scale = scale()},
      context.queue);
  project_out(saved.attended, delta, context);
}

template <Platform P>
void Attention<P>::decode(View<const T, 2, kSpace> normed, const CachedPlaces<kSpace>& places,
                          const KvCacheLayer<P>& cache, View<T, 2, kSpace> delta, Context<P>& context) const {
  const ArenaScope scope(context.activations);
  Saved saved;
  project(normed, places.positions, saved, context);
  const std::int64_t tokens = saved.qkv.shape[0], kv_columns = kv_heads * head_dim;
  append_rows<T>(saved.qk.column_block(heads * head_dim, kv_columns), places.cache_rows, cache.keys,
                 context.queue);
  append_rows<T>(Matrix<T, kSpace>(saved.qkv).column_block(qk_columns(), kv_columns), places.cache_rows,
                 cache.values, context.queue);
  const View<T, 2, kSpace> attended = context.activations.template make<T>(tokens, heads * head_dim);
  kernels::attention_forward(
      kernels::AttentionForward<T, kSpace>{.q = saved.qk.column_block(0, heads * head_dim),
                                           .k = cache.keys,
                                           .v = cache.values,
                                           .segments = places.segments,
                                           .y = attended,
                                           .heads = heads,
                                           .kv_heads = kv_heads,
                                           .scale = scale()},
      context.queue);
  project_out(attended, delta, context);
}

/// The gradients of q, k and v as they attended, side by side.
template <Platform P>
void Attention<P>::backward_attention(View<const T, 2, kSpace> dattended, const TokenPlaces<kSpace>& places,
                                      Matrix<T, kSpace> dqkv, const Saved& saved, Context<P>& context) const {
  const std::int64_t q_columns = heads * head_dim, kv_columns = kv_heads * head_dim;
  kernels::attention_backward(
      kernels::AttentionBackward<T, kSpace>{
          .dy = dattended,
          .q = saved.qk.column_block(0, q_columns),
          .y = saved.attended,
          .k = saved.qk.column_block(q_columns, kv_columns),
          .v = Matrix<T, kSpace>(saved.qkv).column_block(qk_columns(), kv_columns),
          .segments = places.segments,
          .log_sum_exp = saved.log_sum_exp,
          .dq = dqkv.column_block(0, q_columns),
          .dk = dqkv.column_block(q_columns, kv_columns),
          .dv = dqkv.column_block(qk_columns(), kv_columns),
          .heads = heads,
          .kv_heads = kv_heads,
          .scale = scale()},
      context.queue);
}

template <Platform P>
void Attention<P>::backward(const BlockGradient<P>& gradient, const TokenPlaces<kSpace>& places,
                            const Saved& saved, const Gradients& gradients, Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  if (!gradients.output_bias.empty()) {
    kernels::bias_backward(
        kernels::BiasBackward<T, kSpace>{.dy = gradient.ddelta, .dbias = gradients.output_bias},
        context.queue);
  }
  const View<const T, 2, kSpace> dy = gather_tokens(name, gradient.ddelta, context);
  const View<T, 2, kSpace> dattended = context.workspace.template make<T>(saved.attended.shape);
  linear_weight_gradient<T, kSpace>(dy, saved.attended, gradients.output, context.queue);
  linear_input_gradient<T, kSpace>(dy, weights.output, dattended, Into::overwrite, context.queue);

  const Matrix<T, kSpace> dqkv(context.workspace.template make<T>(saved.qkv.shape));
  const Matrix<T, kSpace> dqk = dqkv.column_block(0, qk_columns());
  backward_attention(dattended, places, dqkv, saved, context);
  kernels::qk_norm_rope_backward(
      kernels::QkNormRopeBackward<T, kSpace>{.dy = dqk,
                                             .x = Matrix<T, kSpace>(saved.qkv).column_block(0, qk_columns()),
                                             .q_gain = weights.q_norm,
                                             .k_gain = weights.k_norm,
                                             .cosine = rope.cosine,
                                             .sine = rope.sine,
                                             .positions = places.positions,
                                             .inv_rms = saved.head_inv_rms,
                                             .dx = dqk,
                                             .q_dgain = gradients.q_norm,
                                             .k_dgain = gradients.k_norm,
                                             .heads = heads,
                                             .kv_heads = kv_heads},
      context.queue);
  if (!gradients.qkv_bias.empty()) {
    kernels::bias_backward(kernels::BiasBackward<T, kSpace>{.dy = dqkv, .dbias = gradients.qkv_bias},
                           context.queue);
  }
  const View<const T, 2, kSpace> x = gather_tokens(name, saved.normed, context);
  linear_weight_gradient<T, kSpace>(dqkv, x, gradients.qkv, context.queue);
  const View<T, 2, kSpace> whole = partial_sums(gradient.dnormed, context);
  linear_input_gradient<T, kSpace>(dqkv, weights.qkv, whole, Into::overwrite, context.queue);
  sum_to_parts<P>(name, whole, gradient.dnormed, context);
}

template struct Attention<HostFp32>;

}  // namespace moebius::layers
