#pragma once
/// optimizer: how weights move.
///
///   schedule.h       the learning rate of an iteration: a pure function
///   gradient_sum.h   sums the gradients of the ranks that saw different tokens
///   gradient_norm.h  the L2 norm of all gradients, each element of the model counted once
///   adam.h           the moments, clipping and the step over this rank's shards
///
/// One step: sum the gradients, take their norm, clip, move the weights. Everything is in place on this
/// rank's shards; only sums of gradients and one number cross between ranks.
#include "optimizer/adam.h"
#include "optimizer/gradient_norm.h"
#include "optimizer/gradient_sum.h"
#include "optimizer/schedule.h"
