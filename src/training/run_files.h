#pragma once
#include <filesystem>
#include <optional>

#include "base/log.h"
#include "checkpoint/checkpoint.h"
#include "training/model_state.h"
#include "training/training.h"

namespace moebius::training {

/// Where a run stands.
struct Place {
  std::int64_t iteration = 0;  // done
  std::int64_t packs = 0;      // taken from the training data
};

/// Weights that do not learn: from a source, or, where it is empty, a random start. Gaps become zero.
template <class T, Space S>
void fill_frozen(const checkpoint::SlabReading& reading, std::int64_t seed,
                 const models::Shards<T, S>& weights, Queue<S> queue) {
  const models::WeightState<T, S> state{.weights = weights, .master = {}, .remainder = {}};
  models::clear(state, queue);
  if (reading) return checkpoint::read_into(reading, state, queue);
  models::initialise(state, std::uint64_t(seed), queue);
}

/// The checkpoints of a run, in terms of this rank's model.
template <Platform P>
class RunFiles {
 public:
  RunFiles(const Start& start, cluster::Cluster& cluster, const Log& log);

  /// What the checkpoint to resume says, nothing for a start from the beginning. Reads no tensors.
  /// Collective.
  [[nodiscard]] std::optional<checkpoint::Contents> peek();
  /// Fills the model from that checkpoint, or from the start weights, and says which. Collective.
  [[nodiscard]] Place load(ModelState<P>& state);
  /// Writes the checkpoint of `place`. Collective.
  void save(ModelState<P>& state, Place place);
  /// Bytes of one checkpoint.
  [[nodiscard]] std::int64_t checkpoint_bytes(const models::ParameterTable& table) const;

 private:
  void warn_of_another_adapter(const checkpoint::Loaded& loaded) const;
  [[nodiscard]] std::optional<checkpoint::Loaded> find(const checkpoint::LoadStep& load);
  [[nodiscard]] checkpoint::Contents contents(Place place) const;
  /// Fills what learns, for a run from the beginning.
  void start(ModelState<P>& state) const;

  const Start& start_;
  cluster::Cluster& cluster_;
  const Log& log_;
  checkpoint::Folder folder_;
};

}  // namespace moebius::training
