#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "hub/safetensors.h"
#include "models/parameter_table.h"

namespace moebius::hub {

/// The weights of a Hugging Face folder: model.safetensors, else the files that model.safetensors.index.json
/// names. Opening reads headers only and checks that index and files agree; each fault is an InputError.
class HubFolder {
 public:
  struct Place {
    const SafetensorsFile* file = nullptr;
    const TensorInfo* tensor = nullptr;
  };
  explicit HubFolder(std::filesystem::path folder);
  /// One that has its tensors in this file alone.
  HubFolder(std::filesystem::path folder, const std::string& file);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// Null where the folder has no such tensor.
  [[nodiscard]] const Place* find(const std::string& name) const;
  [[nodiscard]] const std::map<std::string, Place>& tensors() const { return tensors_; }

 private:
  void open_file(const std::string& name);
  void open_indexed_files(const std::filesystem::path& index);

  std::filesystem::path path_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Place> tensors_;
};

/// Checks that the folder holds every tensor of the table, in its shape and in a type that can be read.
/// Throws one InputError that counts what is wrong and names the first few. Returns the names of tensors that
/// no parameter uses, without those that every reader leaves out (rotary inv_freq; lm_head.weight of a model
/// whose output is tied to its input).
[[nodiscard]] std::vector<std::string> check_fit(const HubFolder& folder,
                                                 const models::ParameterTable& table);

/// "'a', 'b', 'c' and 12 more".
[[nodiscard]] std::string some_of(const std::vector<std::string>& names);

}  // namespace moebius::hub
