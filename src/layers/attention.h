#pragma once
#include <cmath>
#include <string>
#include <vector>

#include "kernels/attention/attention.h"
#include "layers/context.h"
#include "layers/kv_cache.h"
#include "layers/low_rank.h"

namespace moebius::layers {

/// E: const T for weights, the type of gradients for those. Heads are those of this tensor rank.
template <class E, Space S>
struct AttentionParameters {
  View<E, 2, S> qkv;             // [(heads + 2 kv_heads) * head_dim, hidden]; q above k above v
  View<E, 1, S> qkv_bias;        // [(heads + 2 kv_heads) * head_dim], or empty
  View<E, 1, S> q_norm, k_norm;  // [head_dim], or empty
  View<E, 2, S> output;          // [hidden, heads * head_dim]
  View<E, 1, S> output_bias;     // [hidden], or empty; added once, to this rank's tokens
  struct {
    Factors<E, S> q, k, v, output;
  } adapter;
};

/// Which token stands where: the same on all tensor ranks, all tokens of the micro batch that are this
/// context rank's.
template <Space S>
struct TokenPlaces {
  View<const std::int32_t, 1, S> positions;  // [tokens]; within the token's own sequence
  kernels::Segments<S> segments;             // sequences that attend to themselves only
  std::vector<kernels::Segments<S>> remote;  // [context - 1]; see ring_attention.h
};

/// Rotary tables, [positions, head_dim / 2] each.
template <Space S>
struct RopeTables {
  View<const float, 2, S> cosine, sine;
};

/// Causal self-attention with grouped queries, its heads split over the tensor ranks, its tokens over the
/// context ranks.
template <Platform P>
struct Attention {
  using T = typename P::Storage;
  using G = typename P::Gradient;
  static constexpr Space kSpace = P::kSpace;
  using Weights = AttentionParameters<const T, kSpace>;
  using Gradients = AttentionParameters<G, kSpace>;

  struct Saved {
    View<const T, 2, kSpace> normed;  // [tokens / tensor, hidden]; the input
    View<T, 2, kSpace> qkv;           // [tokens, (heads + 2 kv_heads) * head_dim]; q and k before their norm
    View<T, 2, kSpace> q, k;          // [tokens, heads * head_dim], [tokens, kv_heads * head_dim]; as they
                                      // attend; can be remade
    View<float, 2, kSpace> head_inv_rms;  // [tokens, heads + kv_heads]; empty without norm
    View<T, 2, kSpace> attended;          // [tokens, heads * head_dim]
    View<float, 2, kSpace> log_sum_exp;   // [tokens, heads]
    struct {
      View<T, 2, kSpace> q, k, v, output;  // [tokens, rank]; see LowRank::forward
    } projected;
  };

  std::string name;  // for the exchange
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
  float epsilon = 1e-6f;  // of the heads' norm
  RopeTables<kSpace> rope;
  Weights weights;
  float adapter_scale = 1;

  /// delta [tokens / tensor, hidden], overwritten.
  void forward(View<const T, 2, kSpace> normed, const TokenPlaces<kSpace>& places, View<T, 2, kSpace> delta,
               Saved& saved, Context<P>& context) const;
  /// q and k again; `normed` is there.
  void remake(const TokenPlaces<kSpace>& places, Saved& saved, Context<P>& context) const;
  void backward(const BlockGradient<P>& gradient, const TokenPlaces<kSpace>& places, const Saved& saved,
                const Gradients& gradients, Context<P>& context) const;
  /// Forward where the queries are new tokens of sequences in a cache: their keys and values are appended to
  /// it first. Keeps nothing.
  void decode(View<const T, 2, kSpace> normed, const CachedPlaces<kSpace>& places,
              const KvCacheLayer<P>& cache, View<T, 2, kSpace> delta, Context<P>& context) const;

 private:
  [[nodiscard]] float scale() const { return float(1 / std::sqrt(double(head_dim))); }
  [[nodiscard]] std::int64_t q_columns() const { return heads * head_dim; }
  [[nodiscard]] std::int64_t kv_columns() const { return kv_heads * head_dim; }
  [[nodiscard]] std::int64_t qk_columns() const { return (heads + kv_heads) * head_dim; }
  [[nodiscard]] std::int64_t qkv_columns() const { return (heads + 2 * kv_heads) * head_dim; }
  [[nodiscard]] LowRank<P> adapter_in(const Factors<const T, kSpace>& factors, const char* weight) const {
    return {factors, adapter_scale, {name, weight}};
  }
  [[nodiscard]] LowRank<P> adapter_out() const {
    return {weights.adapter.output, adapter_scale, {name, "o", Axis::tensor}};
  }
  void project(View<const T, 2, kSpace> normed, Saved& saved, Context<P>& context) const;
  void turn(View<const std::int32_t, 1, kSpace> positions, Saved& saved, Context<P>& context) const;
  struct HeadGradients {
    View<T, 2, kSpace> q, k;  // as they attend, laid out like those: what cuDNN asks for
    View<T, 2, kSpace>
        packed;  // [tokens, (heads + 2 kv_heads) * head_dim]; of the projection, v in its place
  };
  void backward_attention(View<const T, 2, kSpace> dattended, const TokenPlaces<kSpace>& places,
                          const HeadGradients& d, const Saved& saved, Context<P>& context) const;
  void backward_turn(const HeadGradients& d, View<const std::int32_t, 1, kSpace> positions,
                     const Saved& saved, const Gradients& gradients, Context<P>& context) const;
  void project_out(View<const T, 2, kSpace> attended, View<T, 2, kSpace> delta, Saved& saved,
                   Context<P>& context) const;
  void backward_project(View<const T, 2, kSpace> dqkv, const BlockGradient<P>& gradient, const Saved& saved,
                        const Gradients& gradients, Context<P>& context) const;
};

}  // namespace moebius::layers
