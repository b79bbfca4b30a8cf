#include "layers/attention.h"

#include "kernels/attention/append_rows.h"
#include "kernels/attention/qk_norm_rope.h"
#include "kernels/dense/bias.h"
#include "layers/linear.h"
#include "layers/ring_attention.h"

namespace moebius::layers {

template <Platform P>
void Attention<P>::project(View<const T, 2, kSpace> normed, Saved& saved, Context<P>& context) const {
  mark(Part::projections, context.queue);
  const ArenaScope scope(context.workspace);
  const View<const T, 2, kSpace> x = gather_tokens(name, normed, context);
  saved.normed = normed;
  saved.qkv = context.activations.template make<T>(x.shape[0], qkv_columns());
  linear<T, T, kSpace>(x, weights.qkv, saved.qkv, context.queue);
  const auto add = [&](const LowRank<P>& adapter, std::int64_t begin, std::int64_t columns) {
    return adapter.forward(x, Matrix<T, kSpace>(saved.qkv).column_block(begin, columns), context.activations,
                           context);
  };
  saved.projected.q = add(adapter_in(weights.adapter.q, "q"), 0, q_columns());
  saved.projected.k = add(adapter_in(weights.adapter.k, "k"), q_columns(), kv_columns());
  saved.projected.v = add(adapter_in(weights.adapter.v, "v"), qk_columns(), kv_columns());
  if (weights.qkv_bias.empty()) return;
  kernels::bias_forward(kernels::BiasForward<T, kSpace>{.bias = weights.qkv_bias, .y = saved.qkv},
                        context.queue);
}

/// q and k as they attend: normalised where the model does that, turned by their positions.
template <Platform P>
void Attention<P>::turn(View<const std::int32_t, 1, kSpace> positions, Saved& saved,
                        Context<P>& context) const {
  mark(Part::attention, context.queue);
  const std::int64_t tokens = saved.qkv.shape[0];
  saved.q = context.remade.template make<T>(tokens, q_columns());
  saved.k = context.remade.template make<T>(tokens, kv_columns());
  kernels::qk_norm_rope_forward(
      kernels::QkNormRopeForward<T, kSpace>{.x = Matrix<T, kSpace>(saved.qkv).column_block(0, qk_columns()),
                                            .q = saved.q,
                                            .k = saved.k,
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
void Attention<P>::project_out(View<const T, 2, kSpace> attended, View<T, 2, kSpace> delta, Saved& saved,
                               Context<P>& context) const {
  mark(Part::projections, context.queue);
  const ArenaScope scope(context.workspace);
  const View<T, 2, kSpace> whole = partial_sums(delta, context);
  linear<T, T, kSpace>(attended, weights.output, whole, context.queue);
  saved.projected.output =
      adapter_out().forward(attended, Matrix<T, kSpace>(whole), context.activations, context);
  sum_to_parts<P>(name, whole, delta, context);
  if (weights.output_bias.empty()) return;
  kernels::bias_forward(kernels::BiasForward<T, kSpace>{.bias = weights.output_bias, .y = delta},
                        context.queue);
}

template <Platform P>
void Attention<P>::forward(View<const T, 2, kSpace> normed, const TokenPlaces<kSpace>& places,
                           View<T, 2, kSpace> delta, Saved& saved, Context<P>& context) const {
  project(normed, saved, context);
  const std::int64_t tokens = saved.qkv.shape[0];
  if (!weights.q_norm.empty())
    saved.head_inv_rms = context.activations.template make<float>(tokens, heads + kv_heads);
  turn(places.positions, saved, context);
  saved.attended = context.activations.template make<T>(tokens, q_columns());
  saved.log_sum_exp = context.activations.template make<float>(tokens, heads);
  ring_attention_forward<P>(
      kernels::AttentionForward<T, kSpace>{
          .q = saved.q,
          .k = saved.k,
          .v = Matrix<T, kSpace>(saved.qkv).column_block(qk_columns(), kv_columns()),
          .segments = places.segments,
          .y = saved.attended,
          .log_sum_exp = saved.log_sum_exp,
          .heads = heads,
          .kv_heads = kv_heads,
          .scale = scale()},
      places.remote, name, context);
  project_out(saved.attended, delta, saved, context);
}

template <Platform P>
void Attention<P>::remake(const TokenPlaces<kSpace>& places, Saved& saved, Context<P>& context) const {
  turn(places.positions, saved, context);
}

template <Platform P>
void Attention<P>::decode(View<const T, 2, kSpace> normed, const CachedPlaces<kSpace>& places,
                          const KvCacheLayer<P>& cache, View<T, 2, kSpace> delta, Context<P>& context) const {
  const ArenaScope scope(context.activations);
  Saved saved;
  project(normed, saved, context);
  const std::int64_t tokens = saved.qkv.shape[0];
  if (!weights.q_norm.empty())
    saved.head_inv_rms = context.activations.template make<float>(tokens, heads + kv_heads);
  turn(places.positions, saved, context);
  kernels::append_rows(
      kernels::AppendRows<T, kSpace>{.x = saved.k, .rows = places.cache_rows, .cache = cache.keys},
      context.queue);
  kernels::append_rows(kernels::AppendRows<T, kSpace>{.x = Matrix<T, kSpace>(saved.qkv).column_block(
                                                          qk_columns(), kv_columns()),
                                                      .rows = places.cache_rows,
                                                      .cache = cache.values},
                       context.queue);
  const View<T, 2, kSpace> attended = context.activations.template make<T>(tokens, q_columns());
  kernels::attention_forward(kernels::AttentionForward<T, kSpace>{.q = saved.q,
                                                                  .k = cache.keys,
                                                                  .v = cache.values,
                                                                  .segments = places.segments,
                                                                  .y = attended,
                                                                  .heads = heads,
                                                                  .kv_heads = kv_heads,
                                                                  .scale = scale()},
                             context.queue);
  project_out(attended, delta, saved, context);
}

template <Platform P>
void Attention<P>::backward_attention(View<const T, 2, kSpace> dattended, const TokenPlaces<kSpace>& places,
                                      const HeadGradients& d, const Saved& saved, Context<P>& context) const {
  ring_attention_backward<P>(
      kernels::AttentionBackward<T, kSpace>{
          .dy = dattended,
          .q = saved.q,
          .y = saved.attended,
          .k = saved.k,
          .v = Matrix<T, kSpace>(saved.qkv).column_block(qk_columns(), kv_columns()),
          .segments = places.segments,
          .log_sum_exp = saved.log_sum_exp,
          .dq = d.q,
          .dk = d.k,
          .dv = Matrix<T, kSpace>(d.packed).column_block(qk_columns(), kv_columns()),
          .heads = heads,
          .kv_heads = kv_heads,
          .scale = scale()},
      places.remote, name, context);
}

/// From the heads as they attend to the packed projection.
template <Platform P>
void Attention<P>::backward_turn(const HeadGradients& d, View<const std::int32_t, 1, kSpace> positions,
                                 const Saved& saved, const Gradients& gradients, Context<P>& context) const {
  kernels::qk_norm_rope_backward(
      kernels::QkNormRopeBackward<T, kSpace, G>{
          .dq = d.q,
          .dk = d.k,
          .x = Matrix<T, kSpace>(saved.qkv).column_block(0, qk_columns()),
          .q_gain = weights.q_norm,
          .k_gain = weights.k_norm,
          .cosine = rope.cosine,
          .sine = rope.sine,
          .positions = positions,
          .inv_rms = saved.head_inv_rms,
          .dx = Matrix<T, kSpace>(d.packed).column_block(0, qk_columns()),
          .q_dgain = gradients.q_norm,
          .k_dgain = gradients.k_norm,
          .into = context.into,
          .heads = heads,
          .kv_heads = kv_heads},
      context.queue);
}

template <Platform P>
void Attention<P>::backward(const BlockGradient<P>& gradient, const TokenPlaces<kSpace>& places,
                            const Saved& saved, const Gradients& gradients, Context<P>& context) const {
  mark(Part::projections, context.queue);
  const ArenaScope scope(context.workspace);
  Arena<kSpace>& workspace = context.workspace;
  if (!gradients.output_bias.empty()) {
    kernels::bias_backward(
        kernels::BiasBackward<T, kSpace, G>{
            .dy = gradient.ddelta, .dbias = gradients.output_bias, .into = context.into},
        context.queue);
  }
  const View<const T, 2, kSpace> dy = gather_gradient(name, gradient.ddelta, context);
  const View<T, 2, kSpace> dattended = workspace.template make<T>(saved.attended.shape);
  weight_gradient<P>(dy, saved.attended, gradients.output, context);
  linear_input_gradient<T, kSpace>(dy, weights.output, dattended, Into::overwrite, context.queue);
  adapter_out().backward(
      {.dy = dy, .x = saved.attended, .projected = saved.projected.output, .dx = dattended},
      gradients.adapter.output, context);

  const std::int64_t tokens = saved.qkv.shape[0];
  const View<T, 2, kSpace> dqkv = context.product_inputs().template make<T>(saved.qkv.shape);
  const HeadGradients d{.q = workspace.template make<T>(tokens, q_columns()),
                        .k = workspace.template make<T>(tokens, kv_columns()),
                        .packed = dqkv};
  mark(Part::attention, context.queue);
  backward_attention(dattended, places, d, saved, context);
  backward_turn(d, places.positions, saved, gradients, context);
  mark(Part::projections, context.queue);
  if (!gradients.qkv_bias.empty()) {
    kernels::bias_backward(
        kernels::BiasBackward<T, kSpace, G>{.dy = dqkv, .dbias = gradients.qkv_bias, .into = context.into},
        context.queue);
  }
  backward_project(dqkv, gradient, saved, gradients, context);
}

template <Platform P>
void Attention<P>::backward_project(View<const T, 2, kSpace> dqkv, const BlockGradient<P>& gradient,
                                    const Saved& saved, const Gradients& gradients,
                                    Context<P>& context) const {
  const View<const T, 2, kSpace> x = gather_tokens(name, saved.normed, context);
  weight_gradient<P>(dqkv, x, gradients.qkv, context);
  const View<T, 2, kSpace> whole = partial_sums(gradient.dnormed, context);
  linear_input_gradient<T, kSpace>(dqkv, weights.qkv, whole, Into::overwrite, context.queue);
  const auto columns = [&](std::int64_t begin, std::int64_t count) {
    return Matrix<const T, kSpace>(dqkv).column_block(begin, count);
  };
  adapter_in(weights.adapter.q, "q")
      .backward({.dy = columns(0, q_columns()), .x = x, .projected = saved.projected.q, .dx = whole},
                gradients.adapter.q, context);
  adapter_in(weights.adapter.k, "k")
      .backward(
          {.dy = columns(q_columns(), kv_columns()), .x = x, .projected = saved.projected.k, .dx = whole},
          gradients.adapter.k, context);
  adapter_in(weights.adapter.v, "v")
      .backward(
          {.dy = columns(qk_columns(), kv_columns()), .x = x, .projected = saved.projected.v, .dx = whole},
          gradients.adapter.v, context);
  sum_to_parts<P>(name, whole, gradient.dnormed, context);
}

#define INSTANTIATE(P) template struct Attention<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::layers
