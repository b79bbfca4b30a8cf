#pragma once
/// base: what every module may use and what uses none of them.
///
/// The vocabulary of the project, used in every name and comment:
///   axis      a dimension of the mesh of ranks          dim     a dimension of a tensor
///   rank      one MPI process                           degree  the number of ranks along an axis
///   tokens, hidden, heads, kv_heads, head_dim, experts, top_k, vocab   extents of tensors
///   row       one line of a data file                   sample  one row, encoded
///   pack      samples laid end to end in one sequence   segment one sample's place in a pack
///   dx        the gradient of the loss in x             saved   kept from forward for backward
///   shard     the part of a parameter on this rank      slab    the place of a shard in the whole tensor
#include "base/bf16.h"
#include "base/error.h"
#include "base/log.h"
#include "base/math.h"
#include "base/phases.h"
#include "base/stopwatch.h"
#include "base/text.h"
