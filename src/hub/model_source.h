#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "cluster/cluster.h"
#include "hub/weights.h"
#include "models/model_files.h"

namespace moebius::hub {

/// What a command calls MODEL: a Hugging Face folder or a moebius checkpoint. The constructor reads the small
/// files only; each rank opens it on its own. Throws InputError.
class ModelSource {
 public:
  explicit ModelSource(std::filesystem::path path);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] bool is_checkpoint() const { return reader_.has_value(); }
  /// config.json, the tokenizer's files, chat templates.
  [[nodiscard]] const models::ModelFiles& files() const { return files_; }
  /// The text of config.json, and the name to call it by in messages.
  [[nodiscard]] const std::string& config() const { return files_.at("config.json"); }
  [[nodiscard]] std::string config_name() const;
  /// The weights, which must be those of `table`: opens them and checks. Must not outlive this object.
  [[nodiscard]] std::unique_ptr<WeightSource> weights(models::ParameterTable table);

 private:
  std::filesystem::path path_;
  models::ModelFiles files_;
  std::unique_ptr<HubFolder> folder_;         // of a folder, once its weights are wanted
  std::optional<checkpoint::Reader> reader_;  // of a checkpoint
};

/// A Hugging Face folder as a checkpoint without optimizer: every tensor in the type it has, bit for bit, and
/// the small files byte for byte. Collective; each rank reads and writes an equal part of every parameter, a
/// buffer at a time. Every rank throws alike.
void import_model(const HubWeights& weights, const models::ModelFiles& files,
                  const std::filesystem::path& checkpoint, cluster::Cluster& cluster);

}  // namespace moebius::hub
