#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/reader.h"
#include "hub/folder.h"
#include "models/weight_state.h"

namespace moebius::hub {

/// The parameters of a model, wherever they are stored, by slab. Each rank reads on its own.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  [[nodiscard]] virtual const models::ParameterTable& table() const = 0;
  /// The type that a parameter is stored in.
  [[nodiscard]] virtual Dtype stored_dtype(std::size_t parameter) const = 0;
  /// Gives `sink` the wanted slab of each parameter (no elements: none), in parts, one parameter after the
  /// other. Memory: buffers of some MiB. Throws InputError.
  virtual void read(std::span<const models::Slab> wanted, const checkpoint::SlabSink& sink) const = 0;
  /// What a person should know before the weights are used, one line each.
  [[nodiscard]] virtual std::vector<std::string> warnings() const { return {}; }
};

/// The weights of a Hugging Face folder as the parameters of a model. The constructor checks that the folder
/// fits the table. Does not own the folder.
class HubWeights final : public WeightSource {
 public:
  HubWeights(const HubFolder& folder, models::ParameterTable table);

  [[nodiscard]] const models::ParameterTable& table() const override { return table_; }
  /// The type of the parameter's tensors; where they differ, one that holds every value of them.
  [[nodiscard]] Dtype stored_dtype(std::size_t parameter) const override { return dtypes_[parameter]; }
  void read(std::span<const models::Slab> wanted, const checkpoint::SlabSink& sink) const override;
  [[nodiscard]] std::vector<std::string> warnings() const override;
  /// One slab of one parameter, in its stored type, into out[slab elements].
  void read_slab(std::size_t parameter, const models::Slab& slab, void* out) const;
  /// Names of tensors of the folder that are no parameter's, see check_fit.
  [[nodiscard]] const std::vector<std::string>& unused() const { return unused_; }

 private:
  const HubFolder* folder_;
  models::ParameterTable table_;
  std::vector<Dtype> dtypes_;
  std::vector<std::string> unused_, widened_;
};

/// The parameters in a checkpoint. Does not own the reader.
class CheckpointWeights final : public WeightSource {
 public:
  /// Throws InputError where the checkpoint's parameters are not those of the table.
  CheckpointWeights(const checkpoint::Reader& reader, models::ParameterTable table);

  [[nodiscard]] const models::ParameterTable& table() const override { return table_; }
  [[nodiscard]] Dtype stored_dtype(std::size_t parameter) const override;
  void read(std::span<const models::Slab> wanted, const checkpoint::SlabSink& sink) const override;

 private:
  const checkpoint::Reader* reader_;
  models::ParameterTable table_;
};

/// Fills this rank's shards, or its weights with their fp32 values: each rank reads its own slabs and holds
/// nothing else. Gaps between shards become zero.
template <class T, Space S>
void load_weights(const WeightSource& source, const models::WeightState<T, S>& state, Queue<S> queue);
template <class T, Space S>
void load_weights(const WeightSource& source, const models::Shards<T, S>& shards, Queue<S> queue) {
  load_weights(source, models::WeightState<T, S>{.weights = shards, .master = {}, .remainder = {}}, queue);
}
inline void load_weights(const WeightSource& source, const models::Shards<float, Space::host>& shards) {
  load_weights(source, shards, Queue<Space::host>());
}

}  // namespace moebius::hub
