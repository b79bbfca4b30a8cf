#pragma once
/// layers: the parts of a decoder, between kernels and models.
///
/// A layer is a small value: sizes, a name for the exchange, and its Weights (views). What forward keeps for
/// backward is its Saved, by name; gradients are added to Gradients, which looks like Weights in fp32. There
/// is no autograd: backward is forward's sibling, written by hand.
///
///   context.h        exchange, memory and queue of a call; tokens to and from the tensor ranks
///   embedding.h      ids -> residual stream
///   residual_norm.h  residual stream -> input of a block
///   attention.h      attention block, training and decoding; kv_cache.h: what decoding remembers
///   ring_attention.h attention over the keys of all context ranks
///   dense_mlp.h      MLP block
///   moe.h            mixture-of-experts block: the router, and
///   distributed_experts.h  all experts, wherever they are; experts.h: those of this rank
///   lm_head.h        last hidden states -> log-probabilities, loss, logits
///   linear.h         the three products of a linear layer
///   low_rank.h       an adapter beside a linear layer
///
/// Gradients may be empty views, of weights that do not learn.
///
/// Shapes are per rank: [tokens / tensor, hidden] between blocks (sequence parallelism), all tokens inside
/// attention and dense MLPs. Padding rows are the last tokens of the micro batch.
#include "layers/attention.h"
#include "layers/dense_mlp.h"
#include "layers/embedding.h"
#include "layers/kv_cache.h"
#include "layers/lm_head.h"
#include "layers/moe.h"
#include "layers/residual_norm.h"
