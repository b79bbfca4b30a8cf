#pragma once
#include <memory>

#include "data/store/value_store.h"
#include "objectives/objectives.h"
#include "training/cache_folders.h"
#include "training/model_state.h"
#include "training/training.h"

namespace moebius::training {

/// The log-probabilities of every trained token of the job's pairs under the reference, in <output>/cache:
/// found there, or computed now by the reference in the place of the model's own weights, which are loaded
/// after it. So the reference takes no memory while the model trains. Made for the samples and the reference
/// (Start::reference_key) that they are; on every mesh the same, up to rounding. Collective; throws
/// AgreedError.
template <Platform P>
[[nodiscard]] std::shared_ptr<const data::ValueStore> cached_reference(const Start& start,
                                                                       const Datasets& datasets,
                                                                       ModelState<P>& state,
                                                                       cluster::Cluster& cluster,
                                                                       const Log& log);

/// objectives::Reference of what is cached, for this rank of the mesh.
template <Space S>
[[nodiscard]] std::vector<std::vector<float>> log_probabilities_in(const data::ValueStore& store,
                                                                   objectives::Batches batches,
                                                                   const cluster::Mesh& mesh);

}  // namespace moebius::training
