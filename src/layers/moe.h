#pragma once
#include <string>

#include "kernels/moe/router.h"
#include "layers/distributed_experts.h"

namespace moebius::layers {

/// E: const T for weights, the type of gradients for those.
template <class E, Space S>
struct MoeParameters {
  View<E, 2, S> router;  // [all experts, hidden]; whole on every rank
  ExpertParameters<E, S> experts;
  Factors<E, S> router_adapter;
};

/// Factors of the auxiliary losses of one micro batch: the job's coefficient / micro batches in the global
/// batch.
struct AuxCoefficients {
  double aux = 0, z = 0;
};

/// A mixture of experts: the router sends each token to top_k of all experts, on whatever ranks these are.
/// Works on this rank's tokens of the micro batch.
template <Platform P>
struct Moe {
  using T = typename P::Storage;
  using G = typename P::Gradient;
  static constexpr Space kSpace = P::kSpace;
  using Weights = MoeParameters<const T, kSpace>;
  using Gradients = MoeParameters<G, kSpace>;

  struct Saved {
    View<const T, 2, kSpace> normed;       // [tokens / tensor, hidden]; the input
    View<float, 2, kSpace> probabilities;  // [tokens / tensor, all experts]
    View<float, 1, kSpace> log_sum_exp;    // [tokens / tensor]
    View<T, 2, kSpace> projected;          // [tokens / tensor, rank]; of the router, see LowRank::forward
    View<std::int32_t, 2, kSpace> ids;     // [tokens / tensor, top_k]
    // Given by the caller, who reads it later. Of the whole micro batch: tokens sent to each expert, sums of
    // each expert's probability, and the sum of log_sum_exp^2. [statistics_size()]
    View<float, 1, kSpace> statistics;
    typename DistributedExperts<P>::Saved experts;
    std::int64_t valid = 0;  // this rank's tokens that are no padding
    RealTokens real_tokens;
  };

  std::string name;  // for the exchange
  std::int64_t top_k = 0;
  kernels::WeightSum weight_sum = kernels::WeightSum::sum_to_one;
  kernels::Routing routing = kernels::Routing::learned;
  Overlap overlap = Overlap::none;
  Weights weights;
  float adapter_scale = 1;

  struct Input {
    View<const T, 2, kSpace> normed;                // [tokens / tensor, hidden]
    View<const std::int32_t, 1, kSpace> positions;  // [tokens]; of all tensor ranks, each in its sequence
    RealTokens real_tokens;  // from real_tokens.here on (of all tensor ranks) tokens are padding
  };

  /// delta [tokens / tensor, hidden], overwritten.
  void forward(const Input& input, View<T, 2, kSpace> delta, Saved& saved, Context<P>& context) const;

  /// What of `saved` can be remade, again; `normed` is there.
  void remake(Saved& saved, Context<P>& context) const;
  void backward(const BlockGradient<P>& gradient, AuxCoefficients coefficients, const Saved& saved,
                const Gradients& gradients, Context<P>& context) const;
  [[nodiscard]] static std::int64_t statistics_size(std::int64_t all_experts) { return 2 * all_experts + 1; }

 private:
  using Routed = typename DistributedExperts<P>::Routed;

  [[nodiscard]] std::int64_t all_experts() const { return weights.router.shape[0]; }
  [[nodiscard]] DistributedExperts<P> experts() const {
    return {.name = name,
            .all_experts = all_experts(),
            .overlap = overlap,
            .weights = weights.experts,
            .adapter_scale = adapter_scale};
  }
  /// On this rank's tokens.
  [[nodiscard]] LowRank<P> router_adapter(const Saved& saved, const Context<P>& context) const {
    return {weights.router_adapter, adapter_scale, {name, "router"}, own_tokens(saved, context)};
  }
  [[nodiscard]] static Range own_tokens(const Saved& saved, const Context<P>& context) {
    const std::int64_t count = saved.normed.shape[0], index = context.exchange.mesh().index(Axis::tensor);
    return {index * count, (index + 1) * count};
  }
  [[nodiscard]] Routed route(View<const std::int32_t, 1, kSpace> positions, const std::vector<Range>& batches,
                             Saved& saved, Context<P>& context) const;
  [[nodiscard]] View<const T, 2, kSpace> backward_router(View<const float, 2, kSpace> dweights,
                                                         AuxCoefficients coefficients, const Saved& saved,
                                                         Context<P>& context) const;
};

/// The auxiliary losses of a layer's micro batch, without coefficients, and its tokens by expert.
struct RouterReport {
  double aux = 0, z = 0;
  std::vector<double> expert_tokens;  // [all experts]
};
/// From the statistics of Moe::Saved, in host memory.
[[nodiscard]] RouterReport report(View<const float, 1, Space::host> statistics, std::int64_t real_tokens,
                                  std::int64_t top_k);

}  // namespace moebius::layers
