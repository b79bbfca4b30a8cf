#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "hub/weights.h"
#include "models/adapter.h"

namespace moebius::hub {

using models::kAdapterConfig;
inline constexpr const char* kAdapterTensors = "adapter_model.safetensors";

/// An adapter (LoRA) as PEFT writes it into a folder, or inside a checkpoint of a training of one. Opening
/// reads its settings and the names of its tensors. Throws InputError, also for what PEFT can say there and
/// adapters here cannot do (DoRA, biases that learn, ranks that differ from layer to layer, ...): key, value
/// and reason.
class AdapterSource {
 public:
  explicit AdapterSource(const std::filesystem::path& path);
  /// Whether there is an adapter and no model.
  [[nodiscard]] static bool is_one(const std::filesystem::path& path);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] const models::AdapterSettings& settings() const { return settings_; }
  /// The model that it was trained beside: a path, or whatever else PEFT was told; maybe empty.
  [[nodiscard]] const std::string& base() const { return base_; }
  /// The factors, which must be those of models::adapter_table(model, settings()), all of them and no others.
  /// Must not outlive this object.
  [[nodiscard]] std::unique_ptr<WeightSource> weights(const models::ParameterTable& model) const;

 private:
  std::filesystem::path path_;
  std::optional<checkpoint::Reader> reader_;  // of a checkpoint
  std::optional<HubFolder> folder_;           // otherwise
  models::AdapterSettings settings_;
  std::string base_, config_name_;
};

/// The text of an adapter_config.json that PEFT reads. `base`: where the model lies that the adapter is for.
[[nodiscard]] std::string adapter_config_text(const models::ParameterTable& model,
                                              const models::AdapterSettings& settings,
                                              const std::string& base);

}  // namespace moebius::hub
