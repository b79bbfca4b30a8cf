#pragma once
#include <vector>

#include "base/phases.h"
#include "plan/need.h"

namespace moebius::plan {

/// What a step has to do, over all ranks.
struct StepLoad {
  double tokens = 0;
  double targets = 0;  // tokens that are trained: what the head sees
  double squares =
      0;  // sum of the squares of the samples' lengths: what attention sees, twice its causal half
  double micro_batches = 0;
};

/// What a step does besides its pass forward and backward: of a reference, and of the head, which must know
/// log-probabilities before it knows what to do about them.
struct ExtraPasses {
  double forwards = 0;  // through all layers, without the head
  double heads = 0;     // through the head
};
[[nodiscard]] ExtraPasses extra_passes(const job::Job& job);

/// One operation of a step, all layers and micro batches together.
struct Operation {
  Part part = Part::data;
  Pass pass = Pass::forward;
  double flops = 0;  // of matrix products; nothing for what is made again
  double bytes = 0;  // the fewest to and from memory: every input read once, every output written once
};

/// What it takes to know the operations of a step on one rank: of ranks that differ by the routing of tokens,
/// the average.
struct StepQuestion {
  const models::ModelConfig& config;
  const cluster::Mesh& mesh;
  const models::Stages& stages;
  const models::MemoryFormat& format;
  const models::ModelMemory& memory;
  StepLoad load;
  ExtraPasses extra = {};
};

/// Without exchange, which depends on the network. FLOPs add up to flops_a_token where all tokens are trained
/// and all samples are equally long.
[[nodiscard]] std::vector<Operation> step_operations(const StepQuestion& question);

[[nodiscard]] double flops_of(const std::vector<Operation>& operations);

/// The most that a processor can do in a second.
struct Peaks {
  double flops = 0;  // of matrix products in the precision of the run
  double bytes = 0;  // to and from its memory
};

/// The shortest times that are possible: of each operation the longer of products and transfers.
[[nodiscard]] PhaseTimes limits_of(const std::vector<Operation>& operations, const Peaks& peaks);

}  // namespace moebius::plan
