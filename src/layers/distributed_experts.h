#pragma once
#include <string_view>
#include <vector>

#include "base/math.h"
#include "layers/experts.h"
#include "parallel/token_exchange.h"

namespace moebius::layers {

/// What goes on while tokens travel between ranks. halves: the tokens are cut in two, and while those of one
/// half are on their way the experts work on the other. Changes nothing where a rank has all experts.
enum class Overlap : std::uint8_t { none, halves };

/// All experts, on whatever ranks they are, for this rank's tokens: tokens go to the ranks of their experts
/// (parallel/token_exchange.h), through these (Experts), and back. With an expert_tensor axis each of its
/// ranks has a part of the width, and what comes back is the sum.
///
/// With Overlap::halves, in the order of the queue; a start goes on beside what follows it, to its finish:
///
///   forward    start 0, start 1, finish 0, experts 0, start back 0, finish 1, experts 1, start back 1,
///   finish both backward   the same with the experts' backward
template <Platform P>
struct DistributedExperts {
  using T = typename P::Storage;
  using G = typename P::Gradient;
  static constexpr Space kSpace = P::kSpace;
  using Gradients = ExpertParameters<G, kSpace>;

  /// Tokens of this rank that travel together.
  struct Batch {
    Range tokens;
    parallel::Dispatch<kSpace> dispatch;  // where experts are on several ranks
    typename Experts<P>::Saved experts;   // of the tokens here
  };
  using Saved = std::vector<Batch>;

  struct Routed {
    View<const std::int32_t, 2, kSpace> ids;  // [tokens, top_k]; of all experts; -1: none
    View<const float, 2, kSpace> weights;  // [tokens, top_k]; kept by the caller where all experts are here
    View<const std::int32_t, 2, kSpace> counts;  // [batches, all experts]; how many of a batch's ids each has
    std::int64_t rows = 0;                       // ids that are not -1
    View<const std::int32_t, 2, kSpace> numbers = {};  // [tokens, 2]; in the micro batch, for dropout
  };

  std::string_view name;  // for the exchange
  std::int64_t all_experts = 0;
  Overlap overlap = Overlap::none;
  typename Experts<P>::Weights weights;
  float adapter_scale = 1;

  /// Whether a rank has all experts, whole.
  [[nodiscard]] static bool all_here(const Context<P>& context) {
    return context.degree(Axis::expert) * context.degree(Axis::expert_tensor) == 1;
  }
  /// How this rank's tokens are cut: the first `valid` of them alike, the rest with the last of these.
  [[nodiscard]] std::vector<Range> batches(std::int64_t tokens, std::int64_t valid,
                                           const Context<P>& context) const;

  /// Everything of `saved` that is not remade; collective as plan_dispatch.
  void plan(const Routed& routed, const std::vector<Range>& batches, Saved& saved, Context<P>& context) const;
  /// What can be remade (see Experts::Saved), from x [tokens, hidden].
  void remake(View<const T, 2, kSpace> x, Saved& saved, Context<P>& context) const;
  /// y [tokens, hidden], overwritten; makes what can be remade.
  void forward(View<const T, 2, kSpace> x, View<T, 2, kSpace> y, Saved& saved, Context<P>& context) const;
  /// dweights [tokens, top_k], overwritten; where all experts are here, entries of ids of -1 are left as they
  /// are.
  void backward(const BlockGradient<P>& gradient, View<float, 2, kSpace> dweights, const Saved& saved,
                const Gradients& gradients, Context<P>& context) const;

 private:
  [[nodiscard]] Experts<P> here(const Context<P>& context) const;
  void send_routes(const Routed& routed, Batch& batch, Context<P>& context) const;
  // One batch: what travels, travels before and after the experts.
  void to_rows(View<const T, 2, kSpace> tokens, View<T, 2, kSpace> rows, const Batch& batch,
               Context<P>& context) const;
  void to_tokens(View<const T, 2, kSpace> rows, View<T, 2, kSpace> tokens, const Batch& batch,
                 Context<P>& context) const;
  // Several.
  struct Arriving {
    View<T, 2, kSpace> tokens;
    parallel::StartedDispatch<T, kSpace> dispatch;
  };
  [[nodiscard]] std::vector<Arriving> start(View<const T, 2, kSpace> tokens, const Saved& saved,
                                            Context<P>& context) const;
  void remake_batch(Arriving& arriving, Batch& batch, Context<P>& context) const;
  [[nodiscard]] parallel::StartedCombine<T, kSpace> start_back(View<const T, 2, kSpace> rows,
                                                               View<T, 2, kSpace> tokens, const Batch& batch,
                                                               Context<P>& context) const;
  void forward_batches(View<const T, 2, kSpace> x, View<T, 2, kSpace> y, Saved& saved,
                       Context<P>& context) const;
  void backward_batches(const BlockGradient<P>& gradient, View<float, 2, kSpace> dweights, const Saved& saved,
                        const Gradients& gradients, Context<P>& context) const;
};

}  // namespace moebius::layers
