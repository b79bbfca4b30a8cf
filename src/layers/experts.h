#pragma once
#include <string_view>

#include "layers/low_rank.h"

namespace moebius::layers {

/// E: const T for weights, the type of gradients for those. Of this rank's experts: with an expert_tensor
/// axis a part of their width.
template <class E, Space S>
struct ExpertParameters {
  View<E, 3, S> gate_up;  // [experts, 2 * width, hidden]; gate above up
  View<E, 3, S> down;     // [experts, hidden, width]
  struct {
    ExpertFactors<E, S> gate, up, down;
  } adapter;
};

/// The experts of this rank on the tokens that it holds, wherever these came from: each token's row goes to
/// those of its top_k experts that are here, in the order of the experts, and the weighted sum of what comes
/// out is the token's.
///
///   tokens x --spread--> rows --gate_up--> silu(gate) * up * weight --down--> out --gather_sum--> tokens
template <Platform P>
struct Experts {
  using T = typename P::Storage;
  using G = typename P::Gradient;
  static constexpr Space kSpace = P::kSpace;
  using Weights = ExpertParameters<const T, kSpace>;
  using Gradients = ExpertParameters<G, kSpace>;

  struct Saved {
    View<std::int32_t, 1, kSpace> starts;       // [experts + 1]; rows of each
    View<std::int32_t, 2, kSpace> positions;    // [tokens, top_k]; row of each assignment, -1: not here
    View<std::int32_t, 1, kSpace> assignments;  // [rows]; token * top_k + choice
    View<const float, 2, kSpace> weights;       // [tokens, top_k]; of the routing
    View<const std::int32_t, 2, kSpace> ids;  // [tokens, top_k]; of the routing; for dropout, as what follows
    View<const std::int32_t, 2, kSpace> numbers;  // [tokens, 2]; in the micro batch
    View<T, 2, kSpace> rows;                      // [rows, hidden]; inputs; can be remade
    View<T, 2, kSpace> gate_up;                   // [rows, 2 * width]; can be remade
    View<T, 2, kSpace>
        active;  // [rows, width]; times the routing weight: what goes into `down`; can be remade
    struct {
      View<T, 2, kSpace> gate, up, down;  // [rows, rank]; see LowRank::forward; gate and up can be remade
    } projected;
  };

  struct Routes {
    View<const std::int32_t, 2, kSpace> ids;  // [tokens, top_k]; of all experts, -1: none
    View<const float, 2, kSpace> weights;     // [tokens, top_k]; kept by the caller
    std::int64_t rows = 0;                    // how many of the ids are here
    View<const std::int32_t, 2, kSpace> numbers =
        {};  // [tokens]; with dropout: it and ids are kept by the caller
  };

  std::string_view name;         // for dropout
  std::int64_t all_experts = 0;  // on all ranks
  std::int64_t first = 0;        // of them
  Weights weights;
  float adapter_scale = 1;

  /// Everything of `saved` that is not remade.
  void plan(const Routes& routes, Saved& saved, Context<P>& context) const;
  /// Room for rows, to be filled by `spread`.
  void make_rows(Saved& saved, Context<P>& context) const;
  /// gate_up and active, from rows.
  void activate(Saved& saved, Context<P>& context) const;
  /// y [rows, hidden], overwritten: not summed by token yet.
  void forward(Saved& saved, View<T, 2, kSpace> y, Context<P>& context) const;
  struct RowGradients {     // [rows, hidden] each
    View<T, 2, kSpace> dy;  // an input of products, see Context
    View<T, 2, kSpace> dx;  // in `rows`, overwritten; dy itself where no product waits for its turn
  };
  [[nodiscard]] static RowGradients make_row_gradients(const Saved& saved, Context<P>& context);
  /// dweights [tokens, top_k]: entries of assignments that are not here are left as they are.
  void backward(const RowGradients& rows, View<float, 2, kSpace> dweights, const Saved& saved,
                const Gradients& gradients, Context<P>& context) const;

  /// From tokens to rows and, summed, back.
  static void spread(View<const T, 2, kSpace> tokens, View<T, 2, kSpace> rows, const Saved& saved,
                     Context<P>& context);
  static void sum(View<const T, 2, kSpace> rows, View<T, 2, kSpace> tokens, const Saved& saved,
                  Context<P>& context);

 private:
  [[nodiscard]] ExpertLowRank<P> adapter(const ExpertFactors<const T, kSpace>& factors,
                                         const AdaptedWeight& of, const Saved& saved) const {
    return {factors,
            adapter_scale,
            of,
            {.starts = saved.starts,
             .assignments = saved.assignments,
             .ids = saved.ids,
             .numbers = saved.numbers,
             .all_experts = all_experts}};
  }
  [[nodiscard]] ExpertLowRank<P> adapter_gate(const Saved& saved) const {
    return adapter(weights.adapter.gate, {name, "gate"}, saved);
  }
  [[nodiscard]] ExpertLowRank<P> adapter_up(const Saved& saved) const {
    return adapter(weights.adapter.up, {name, "up"}, saved);
  }
  [[nodiscard]] ExpertLowRank<P> adapter_down(const Saved& saved) const {
    return adapter(weights.adapter.down, {name, "down", Axis::expert_tensor}, saved);
  }
  void backward_adapter_in(View<const T, 2, kSpace> dgate_up, View<T, 2, kSpace> dx, const Saved& saved,
                           const Gradients& gradients, Context<P>& context) const;
};

}  // namespace moebius::layers
