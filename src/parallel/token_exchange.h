#pragma once
#include <string_view>
#include <vector>

#include "parallel/exchange.h"
#include "tensor/arena.h"

/// Expert parallelism: rows go to the rank that holds their expert, and come back.
///
/// Experts are cut over Axis::expert in blocks: index i holds experts i * E/EP .. (i+1) * E/EP - 1.
///
///   rows sorted by expert  --all_to_all-->  by source index, then expert  --regroup-->  by expert, then
///   source (this rank's tokens)                    (this rank's experts)                       (grouped
///   GEMM)
///
/// dispatch_rows goes to the right, combine_rows to the left. Both only move rows, so each is the other's
/// adjoint: backward of dispatch is combine, and the reverse.
namespace moebius::parallel {

/// Where the rows of one MoE layer and micro batch go; made once, kept for combine and for backward.
template <Space S>
struct Dispatch {
  std::vector<std::int64_t> sent_rows;      // [degree]; rows that go to each index
  std::vector<std::int64_t> received_rows;  // [degree]; rows that come from each index
  View<std::int32_t, 1, S> starts;          // [local experts + 1]; rows of each local expert, in expert order
  View<std::int32_t, 1, S> sources;         // [received]; as received, by place in expert order
  View<std::int32_t, 1, S> positions;       // [received]; the reverse of sources

  [[nodiscard]] std::int64_t sent() const;      // rows in all
  [[nodiscard]] std::int64_t received() const;  // rows in all; may be 0
  /// Whether expert order is the order in which the rows arrive.
  [[nodiscard]] bool in_order() const { return sent_rows.size() == 1 || starts.size() == 2; }
};

template <Space S>
struct PlanDispatch {
  std::string_view name;                  // for the watchdog: "layers.3.moe"
  View<const std::int32_t, 1, S> starts;  // [experts + 1]; rows of each expert among this rank's
                                          // (kernels::PermutePlan::starts)
  Arena<S>& kept;                         // where the lists of the result lie
  Staging<S>& staging;                    // gives [experts + 1] numbers
};

/// Collective on Axis::expert, also for ranks without rows. The host has to know the counts, so it waits for
/// the queue, once; what makes the lists is only queued.
template <Space S>
[[nodiscard]] Dispatch<S> plan_dispatch(Exchange<S>& exchange, const PlanDispatch<S>& op, Queue<S> queue);

template <class T, Space S>
struct MoveRows {
  std::string_view name;  // for the watchdog: "layers.3.moe.dispatch"
  const Dispatch<S>& dispatch;
  View<const T, 2, S> from;  // dispatch: [sent, width], combine: [received, width]
  View<T, 2, S> to;          // dispatch: [received, width], combine: [sent, width]; overwritten
};

/// `workspace` is used for [received, width] while the call lasts. Collective on Axis::expert.
template <class T, Space S>
void dispatch_rows(Exchange<S>& exchange, const MoveRows<T, S>& op, Arena<S>& workspace, Queue<S> queue = {});
template <class T, Space S>
void combine_rows(Exchange<S>& exchange, const MoveRows<T, S>& op, Arena<S>& workspace, Queue<S> queue = {});

}  // namespace moebius::parallel
