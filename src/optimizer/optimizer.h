#pragma once
/// optimizer: how weights move.
///
///   schedule.h       the learning rate of an iteration: a pure function
///   gradient_sum.h   sums the gradients of the ranks that saw different tokens
///   gradient_norm.h  the L2 norm of all gradients, each element of the model counted once
///   weight_gather.h  moved weights to the ranks that hold the same shard
///   adam.h           the moments, clipping and the step
///
/// One step: sum the gradients, take their norm, clip, move the weights. Ranks that hold the same shard share
/// that work out (models/ownership.h): each gets the sums of what it owns (reduce_scatter), keeps master
/// values and moments of that alone, moves it, and hands it to the others (all_gather).
#include "optimizer/adam.h"
#include "optimizer/gradient_norm.h"
#include "optimizer/gradient_sum.h"
#include "optimizer/schedule.h"
#include "optimizer/weight_gather.h"
