#include "hub/model_source.h"

#include <fmt/format.h>
#include <utility>

#include "base/error.h"
#include "checkpoint/slabs.h"
#include "checkpoint/write.h"
#include "hub/adapter_source.h"

namespace moebius::hub {

ModelSource::ModelSource(std::filesystem::path path) : path_(std::move(path)) {
  if (std::filesystem::is_directory(path_)) {
    files_ = models::read_model_files(path_);
    return;
  }
  if (!std::filesystem::exists(path_)) {
    throw InputError(path_.string() + ": no such Hugging Face folder or checkpoint");
  }
  reader_.emplace(path_);
  files_ = reader_->contents().model_files;
  if (!files_.contains("config.json")) throw InputError(path_.string() + ": has no config.json inside");
}

std::string ModelSource::config_name() const {
  return is_checkpoint() ? path_.string() + ": config.json" : (path_ / "config.json").string();
}

std::unique_ptr<WeightSource> ModelSource::weights(models::ParameterTable table) {
  if (files_.contains(kAdapterConfig))
    throw InputError(fmt::format(
        "{}: holds an adapter and not the model '{}' that it is for; name that one, and this as the adapter",
        path_.string(), AdapterSource(path_).base()));
  if (reader_) return std::make_unique<CheckpointWeights>(*reader_, std::move(table));
  if (folder_ == nullptr) folder_ = std::make_unique<HubFolder>(path_);
  return std::make_unique<HubWeights>(*folder_, std::move(table));
}

void import_model(const HubWeights& weights, const models::ModelFiles& files,
                  const std::filesystem::path& checkpoint, cluster::Cluster& cluster) {
  const models::ParameterTable& table = weights.table();
  const checkpoint::Contents contents{.model_files = files};
  const auto shares = checkpoint::even_slabs(table, cluster.size(), cluster.rank());
  checkpoint::TensorGroup parameters{.name = checkpoint::kParameters, .slabs = checkpoint::lists_of(shares)};
  for (std::size_t i = 0; i < table.size(); ++i) parameters.dtypes.push_back(weights.stored_dtype(i));
  parameters.source = [&](std::size_t parameter, const models::Slab& slab, std::span<std::byte> elements) {
    weights.read_slab(parameter, slab, elements.data());
  };
  checkpoint::write_checkpoint(
      checkpoint, {.contents = contents, .table = table, .groups = {std::move(parameters)}}, cluster);
}

}  // namespace moebius::hub
