#pragma once
#include <array>
#include <string>

#include "models/memory.h"

namespace moebius::plan {

/// What decides what a rank sends in a step. Routing of tokens, which only a run knows, comes in as rows.
struct TrafficQuestion {
  const models::ModelConfig& config;
  const cluster::Mesh& mesh;
  const models::MemoryFormat& format;
  std::int64_t micro_batches = 1;  // of this rank
  std::int64_t tokens = 0;         // of each: this rank's context share, padding for tensor ranks included
  std::int64_t targets = 0;        // of them asked for
  /// Of each MoE layer and micro batch: tokens that this rank sends to others of Axis::expert, those that it
  /// gets from them, and the rows of a block where experts are cut (parallel/token_exchange.h).
  struct Rows {
    std::int64_t leaving = 0, arriving = 0, block = 0;
  } rows;
};

/// Bytes by axis.
using AxisBytes = std::array<std::int64_t, cluster::kAxisCount>;

/// The bytes that a rank sends to others in a training step: what Exchange::traffic counts with the exchange
/// over MPI (tests/end_to_end/traffic_test.cpp), and with NCCL but for sums of a few numbers. With
///
///   d          the degree of the axis            m   micro batches of this rank
///   w, g       bytes of a weight, a gradient     h   hidden size
///   t          tokens of a micro batch here      u   (d-1)/d w h t: a gather of all tokens, or its adjoint
///   S(n)       a sum of n bytes: (d-1) n up to 4096, else 2 (d-1)/d n
///
///   data_context    (d-1)/d (g+w) elements of dense blocks            gradients scattered, weights gathered
///   expert_data     (d-1)/d (g+w) elements of blocks of experts       likewise
///   tensor          m u (5 attention + 5 dense MLPs + 2 embedding + 2 head)
///                   + m (S(4 targets) + S(8 targets))                 maxima and sums of the loss
///                   + S(g owned elements of rows not split over it)
///   tensor_context  m S(4 (2 experts + 1)) a MoE layer                counts for balance
///   expert          m (16 (d-1) + 4 top_k (2 leaving + arriving) + 2 w h (leaving + arriving)) a MoE layer
///   expert_tensor   m (16 (d-1) + (d-1) block (12 top_k + 4 w h)) a MoE layer
///                   + S(g owned elements of rows not split over it)
///   context         m 2 t (kv heads here) head_dim ((d-1) w + (d-1) w + d 4) a layer     keys, values:
///                   the ring in forward and backward, their gradients in fp32; + 8 (d-1)
///   pipeline        m w h t / tensor for each stream sent on, and each gradient sent back
///                   + 8 (d-1) (3 + MoE layers experts)                loss, aux losses, counts
///   data            8 (d-1) (3 + 3 + MoE layers experts)              the same, and counts of tokens
///   ends            S(g owned elements of a tied embedding)
///   world           8 (d-1)                                           the gradient's norm
///
/// What is made again is exchanged again: "selective" adds u a dense MLP and w h leaving a MoE layer; "full"
/// adds a layer's forward. In two halves (moe.overlap) rows are those of both, and the 16 are 32. Of pairs of
/// answers it is the model's own passes: that of a reference in memory, and the second one through the head,
/// come on top.
[[nodiscard]] AxisBytes step_traffic(const TrafficQuestion& question);

/// "data_context 123456, tensor 789": axes that carried anything, with exact bytes.
[[nodiscard]] std::string traffic_text(const AxisBytes& bytes);

}  // namespace moebius::plan
