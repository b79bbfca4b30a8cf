#pragma once
#include <span>
#include <string_view>

#include "kernels/attention/attention.h"
#include "layers/context.h"

/// Attention over keys and values that lie on all ranks of Axis::context. Each rank keeps its queries; keys
/// and values go round the ring of ranks, step by step, and travel on while a step computes (Liu et al. 2023,
/// arXiv:2310.01889). What a step gives is merged in fp32. In backward the gradients of keys and values, in
/// fp32, follow one step behind, gather what each rank adds, and end where they belong.
///
///   step s    here are the keys of rank (index - s), which went s ranks on
///
/// A rank sends, with T tokens here (padding included), kv = kv_heads * head_dim and R ranks,
///
///   forward     (R - 1) * 2 T kv   numbers as stored
///   backward    (R - 1) * 2 T kv   numbers as stored and R * 2 T kv of fp32
namespace moebius::layers {

/// `own` is attention of the queries to the keys of this rank; remote[s - 1] says which of them attend to
/// which keys in step s: degree - 1 of them. y and log_sum_exp become those over all keys. Without remote
/// keys it is the kernel alone.
template <Platform P>
void ring_attention_forward(const kernels::AttentionForward<typename P::Storage, P::kSpace>& own,
                            std::span<const kernels::Segments<P::kSpace>> remote, std::string_view name,
                            Context<P>& context);

/// From y and log_sum_exp over all keys: dq of the queries here, dk and dv of the keys here, each over all
/// ranks.
template <Platform P>
void ring_attention_backward(const kernels::AttentionBackward<typename P::Storage, P::kSpace>& own,
                             std::span<const kernels::Segments<P::kSpace>> remote, std::string_view name,
                             Context<P>& context);

}  // namespace moebius::layers
