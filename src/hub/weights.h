#pragma once
#include <cstddef>

#include "hub/folder.h"
#include "models/shards.h"

namespace moebius::hub {

/// Whole parameters of a model, wherever they are stored, read by slab.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  [[nodiscard]] virtual const models::ParameterTable& table() const = 0;
  /// The type that a parameter is stored in.
  [[nodiscard]] virtual Dtype stored_dtype(std::size_t index) const = 0;
  /// A slab of parameter `index` of the table, into out[slab elements]. Every rank reads what it likes.
  virtual void read(std::size_t index, const models::Slab& slab, Dtype dtype, void* out) const = 0;
};

/// The weights of a folder as the parameters of a model, by slab: what loading and import read from. The
/// constructor checks that the folder fits the table. Does not own the folder.
class HubWeights final : public WeightSource {
 public:
  HubWeights(const HubFolder& folder, models::ParameterTable table);

  [[nodiscard]] const models::ParameterTable& table() const override { return table_; }
  /// Tensors of the folder that no parameter uses; see check_fit.
  [[nodiscard]] const std::vector<std::string>& unused() const { return unused_; }
  /// The type of the parameter's tensors; where they differ, one that holds every value of them.
  [[nodiscard]] Dtype stored_dtype(std::size_t index) const override;
  /// Memory beyond `out`: that of SafetensorsFile::read.
  void read(std::size_t index, const models::Slab& slab, Dtype dtype, void* out) const override;

 private:
  const HubFolder* folder_;
  models::ParameterTable table_;
  std::vector<std::string> unused_;
};

/// Fills this rank's shards: each rank reads its own slabs, and holds nothing else. Gaps
/// between shards become zero.
void load_weights(const WeightSource& source, const models::Shards<float, Space::host>& shards);

}  // namespace moebius::hub
