#pragma once
/// objectives: what is minimised. An objective takes a micro batch through the decoder and adds to the
/// gradients; it says which numbers the step reports.
///
///   host_batch.h   a micro batch as the decoder takes it
///   sft.h   supervised fine-tuning: sum of loss_scale * token loss / trained tokens of the global batch
#include "objectives/sft.h"
