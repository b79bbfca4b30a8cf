#pragma once
#include <span>
#include <string_view>
#include <vector>

#include "parallel/exchange.h"
#include "tensor/arena.h"

/// Expert parallelism: tokens go to the ranks that hold their experts, and sums come back.
///
/// Experts are cut over Axis::expert in blocks: index i holds experts i * E/EP .. (i+1) * E/EP - 1. The width
/// of each is cut over Axis::expert_tensor.
///
///   this rank's tokens --spread--> by destination --all_to_all (expert)--> by source
///       --all_gather (expert_tensor)--> the tokens here
///
/// dispatch_rows goes to the right: what a token has (its row, the ids of its experts, their weights) travels
/// once to each index of Axis::expert that holds one of its experts, however many these are. combine_rows
/// goes to the left, each step by its adjoint: the partial sums of the widths are reduce-scattered, one row
/// comes back from each index that the token went to, and the sum of these is the token's. So each is the
/// other's adjoint, and backward of dispatch is combine.
///
/// Rows cross Axis::expert before they are gathered over expert_tensor: that way a row leaves for a distant
/// rank once, and its copies are made among neighbours (expert_tensor is the fastest axis of the grid).
/// Sending it to every rank of the destination at once would carry as many bytes, expert_tensor times as many
/// of them far; gathering first would carry expert_tensor times as many over Axis::expert.
namespace moebius::parallel {

/// Where the tokens of one MoE layer and micro batch go; made once, kept for combine and for backward.
///
/// The tokens here are `blocks` blocks of `block` rows, one of each index of expert_tensor: what it has
/// received, by source and within a source by token, then padding, to make all blocks as long as the longest.
template <Space S>
struct Dispatch {
  View<std::int32_t, 2, S> positions;   // [tokens, top_k]; row of the token among those sent, at the first
                                        // choice with that destination; else -1
  std::vector<std::int64_t> sent_rows;  // [expert]; tokens that go to each index
  std::vector<std::int64_t> received_rows;  // [expert]; tokens that come from each index
  std::int64_t block = 0, blocks = 1, own_block = 0;
  std::int64_t assignments = 0;  // of the tokens here, to this rank's experts; may be 0

  [[nodiscard]] std::int64_t sent() const;                                   // rows in all
  [[nodiscard]] std::int64_t received() const;                               // rows in all; may be 0
  [[nodiscard]] std::int64_t tokens_here() const { return block * blocks; }  // padding included
};

template <Space S>
using Dispatches = std::vector<Dispatch<S>>;

/// Tokens whose way is planned.
template <Space S>
struct RoutedTokens {
  View<const std::int32_t, 2, S> ids;     // [tokens, top_k]; experts, -1 goes nowhere
  View<const std::int32_t, 1, S> counts;  // [experts]; how many of `ids` each has
};

template <Space S>
struct PlanDispatch {
  std::string_view name;                    // for the watchdog: "layers.3.experts"
  std::span<const RoutedTokens<S>> tokens;  // each with a Dispatch of its own; as many on all ranks
  Arena<S>& kept;                           // where the lists of the result lie
  Staging<S>& staging;                      // gives [experts] and [expert + 1] numbers for each
};

/// Collective on Axis::expert and Axis::expert_tensor, also for ranks without tokens. The host has to know
/// the counts, so it waits for the queue, once. Tells others 16 bytes each for each Dispatch.
template <Space S>
[[nodiscard]] Dispatches<S> plan_dispatch(Exchange<S>& exchange, const PlanDispatch<S>& op, Queue<S> queue);

template <class T, Space S>
struct MoveRows {
  std::string_view name;  // for the watchdog: "layers.3.experts"
  const Dispatch<S>& dispatch;
  View<const T, 2, S> from;  // dispatch: [tokens, width], combine: [tokens here, width]
  View<T, 2, S> to;          // dispatch: [tokens here, width], combine: [tokens, width]; overwritten
};

/// Padding in `to` is left as it is. `workspace` is used while the call lasts. Both are collective on
/// Axis::expert and Axis::expert_tensor. Bytes to others, with w bytes a row: over expert w * (rows sent to
/// others), over expert_tensor w * block * (blocks - 1).
template <class T, Space S>
void dispatch_rows(Exchange<S>& exchange, const MoveRows<T, S>& op, Arena<S>& workspace, Queue<S> queue = {});
/// Sums in fp32, rounded once after each step. Bytes to others: over expert w * (rows received from
/// others), over expert_tensor as dispatch_rows.
template <class T, Space S>
void combine_rows(Exchange<S>& exchange, const MoveRows<T, S>& op, Arena<S>& workspace, Queue<S> queue = {});

/// The same two, started and finished: between, the rows cross Axis::expert while the rank computes. What
/// they need of `workspace` stays in use until they are finished. All ranks start theirs in one order, and
/// finish theirs in one order.
template <class T, Space S>
class StartedDispatch {
 public:
  StartedDispatch(Exchange<S>& exchange, const MoveRows<T, S>& op, Arena<S>& workspace, Queue<S> queue);
  /// For what is queued from here on, `to` is there.
  void finish(Queue<S> queue);

 private:
  Exchange<S>& exchange_;
  MoveRows<T, S> op_;
  Pending<S> crossing_;
};

template <class T, Space S>
class StartedCombine {
 public:
  StartedCombine(Exchange<S>& exchange, const MoveRows<T, S>& op, Arena<S>& workspace, Queue<S> queue);
  void finish(Queue<S> queue);

 private:
  MoveRows<T, S> op_;
  View<const T, 2, S> back_;
  Pending<S> crossing_;
};

}  // namespace moebius::parallel
