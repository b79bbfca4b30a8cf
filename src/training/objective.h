#pragma once
#include <memory>

#include "objectives/objectives.h"
#include "training/model_state.h"
#include "training/training.h"

namespace moebius::training {

template <Platform P>
using OwnObjective = std::unique_ptr<objectives::Objective<P>>;

/// What a job minimises, over this rank's part of the model. With dpo it brings the reference along, its
/// weights or what they say of all pairs; to find that out it may use the memory of the model's own weights,
/// so those are loaded later. The state outlives it. Collective; throws AgreedError.
template <Platform P>
[[nodiscard]] OwnObjective<P> make_objective(const Start& start, const Datasets& datasets,
                                             ModelState<P>& state, cluster::Cluster& cluster, const Log& log);

}  // namespace moebius::training
