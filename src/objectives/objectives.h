#pragma once
/// objectives: what is minimised, and how micro batches go through the decoder for it.
///
///   host_batch.h   a micro batch as the decoder takes it
///   passes.h       micro batches through the decoder, forward and backward, over the stages of a pipeline
///   objective.h    what a loss says: weights of targets, numbers of a step
///   sft.h          supervised fine-tuning
///   dpo.h          pairs of answers against a reference
#include "objectives/dpo.h"
#include "objectives/passes.h"
#include "objectives/sft.h"
