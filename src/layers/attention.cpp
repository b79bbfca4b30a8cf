#include "layers/attention.h"

#include <cmath>

#include "kernels/attention/qk_norm_rope.h"
#include "kernels/dense/bias.h"
#include "layers/linear.h"

namespace moebius::layers {

template <Platform P>
void Attention<P>::project(View<const T, 2, S> normed, View<const std::int32_t, 1, S> positions, Saved& saved,
                           Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  const View<const T, 2, S> x = gather_tokens(name, normed, context);
  const std::int64_t tokens = x.shape[0];
  saved.normed = normed;
  saved.qkv = context.activations.template make<T>(tokens, qkv_columns());
  linear<T, T, S>(x, weights.qkv, saved.qkv, context.queue);
  if (!weights.qkv_bias.empty()) {
    kernels::bias_forward(kernels::BiasForward<T, S>{.bias = weights.qkv_bias, .y = saved.qkv},
                          context.queue);
  }
  const Matrix<T, S> before = Matrix<T, S>(saved.qkv).column_block(0, qk_columns());
  const bool has_norm = !weights.q_norm.empty();
  saved.qk = has_norm ? Matrix<T, S>(context.activations.template make<T>(tokens, qk_columns())) : before;
  if (has_norm) saved.head_inv_rms = context.activations.template make<float>(tokens, heads + kv_heads);
  kernels::qk_norm_rope_forward(kernels::QkNormRopeForward<T, S>{.x = before,
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
void Attention<P>::project_out(View<const T, 2, S> attended, View<T, 2, S> delta, Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  const View<T, 2, S> whole = partial_sums(delta, context);
  linear<T, T, S>(attended, weights.output, whole, context.queue);
  sum_to_parts<P>(name, whole, delta, context);
  if (weights.output_bias.empty()) return;
  kernels::bias_forward(kernels::BiasForward<T, S>{.bias = weights.output_bias, .y = delta}, context.queue);
}

template <Platform P>
void Attention<P>::forward(View<const T, 2, S> normed, const TokenPlaces<S>& places, View<T, 2, S> delta,
                           Saved& saved, Context<P>& context) const {
  project(normed, places.positions, saved, context);
  const std::int64_t tokens = saved.qkv.shape[0];
  saved.attended = context.activations.template make<T>(tokens, heads * head_dim);
  saved.log_sum_exp = context.activations.template make<float>(heads, tokens);
  const Matrix<T, S> v = Matrix<T, S>(saved.qkv).column_block(qk_columns(), kv_heads * head_dim);
  kernels::attention_forward(
      kernels::AttentionForward<T, S>{.q = saved.qk.column_block(0, heads * head_dim),
                                      .k = saved.qk.column_block(heads * head_dim, kv_heads * head_dim),
                                      .v = v,
                                      .segments = places.segments,
                                      .y = saved.attended,
                                      .log_sum_exp = saved.log_sum_exp,
                                      .heads = heads,
                                      .kv_heads = kv_heads,
                                      .scale = float(1 / std::sqrt(double(head_dim)))},
      context.queue);
  project_out(saved.attended, delta, context);
}

template <Platform P>
void Attention<P>::decode(View<const T, 2, S> normed, const CachedPlaces<S>& places,
                          const KvCacheLayer<P>& cache, View<T, 2, S> delta, Context<P>& context) const {
  const ArenaScope scope(context.activations);
  Saved saved;
  project(normed, places.positions, saved, context);
  const std::int64_t tokens = saved.qkv.shape[0], kv_columns = kv_heads * head_dim;
  append_rows<T>(saved.qk.column_block(heads * head_dim, kv_columns), places.cache_rows, cache.keys,
                 context.queue);
  append_rows<T>(Matrix<T, S>(saved.qkv).column_block(qk_columns(), kv_columns), places.cache_rows,
                 cache.values, context.queue);
  const View<T, 2, S> attended = context.activations.template make<T>(tokens, heads * head_dim);
  kernels::attention_forward(kernels::AttentionForward<T, S>{.q = saved.qk.column_block(0, heads * head_dim),
                                                             .k = cache.keys,
                                                             .v = cache.values,
                                                             .segments = places.segments,
                                                             .y = attended,
                                                             .heads = heads,
                                                             .kv_heads = kv_heads,
                                                             .scale = float(1 / std::sqrt(double(head_dim)))},
                             context.queue);
  project_out(attended, delta, context);
}

template <Platform P>
void Attention<P>::backward(View<const T, 2, S> ddelta, const TokenPlaces<S>& places, View<T, 2, S> dnormed,
                            const Saved& saved, const Gradients& gradients, Context<P>& context) const {
  const ArenaScope scope(context.workspace);
  const std::int64_t q_columns = heads * head_dim, kv_columns = kv_heads * head_dim;
  if (!gradients.output_bias.empty()) {
    kernels::bias_backward(kernels::BiasBackward<T, S>{.dy = ddelta, .dbias = gradients.output_bias},
                           context.queue);
  }
  const View<const T, 2, S> dy = gather_tokens(name, ddelta, context);
  const View<T, 2, S> dattended = context.workspace.template make<T>(saved.attended.shape);
  linear_weight_gradient<T, S>(dy, saved.attended, gradients.output, context.queue);
  linear_input_gradient<T, S>(dy, weights.output, dattended, Into::overwrite, context.queue);

  const Matrix<T, S> dqkv(context.workspace.template make<T>(saved.qkv.shape));
  const Matrix<T, S> qkv(saved.qkv), dqk = dqkv.column_block(0, qk_columns());
  kernels::attention_backward(
      kernels::AttentionBackward<T, S>{.dy = dattended,
                                       .q = saved.qk.column_block(0, q_columns),
                                       .y = saved.attended,
                                       .k = saved.qk.column_block(q_columns, kv_columns),
                                       .v = qkv.column_block(qk_columns(), kv_columns),
                                       .segments = places.segments,
                                       .log_sum_exp = saved.log_sum_exp,
                                       .dq = dqkv.column_block(0, q_columns),
                                       .dk = dqkv.column_block(q_columns, kv_columns),
                                       .dv = dqkv.column_block(qk_columns(), kv_columns),
                                       .heads = heads,
                                       .kv_heads = kv_heads,
                                       .scale = float(1 / std::sqrt(double(head_dim)))},
      context.queue);
  kernels::qk_norm_rope_backward(kernels::QkNormRopeBackward<T, S>{.dy = dqk,
                                                                   .x = qkv.column_block(0, qk_columns()),
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
    kernels::bias_backward(kernels::BiasBackward<T, S>{.dy = dqkv, .dbias = gradients.qkv_bias},
                           context.queue);
  }
  const View<const T, 2, S> x = gather_tokens(name, saved.normed, context);
  linear_weight_gradient<T, S>(dqkv, x, gradients.qkv, context.queue);
  const View<T, 2, S> whole = partial_sums(dnormed, context);
  linear_input_gradient<T, S>(dqkv, weights.qkv, whole, Into::overwrite, context.queue);
  sum_to_parts<P>(name, whole, dnormed, context);
}

template struct Attention<HostFp32>;

}  // namespace moebius::layers
