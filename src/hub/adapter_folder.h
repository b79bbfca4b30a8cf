#pragma once
#include <filesystem>
#include <memory>

#include "hub/weights.h"
#include "models/adapter.h"

namespace moebius::hub {

inline constexpr const char* kAdapterConfig = "adapter_config.json";
inline constexpr const char* kAdapterTensors = "adapter_model.safetensors";

/// A folder as PEFT writes it: the settings of an adapter (LoRA) and its factors. Opening reads the small
/// file and the header of the large one. Throws InputError, also for what PEFT can say there and adapters
/// here cannot do (DoRA, biases that learn, ranks that differ from layer to layer, ...): key, value and
/// reason.
class AdapterFolder {
 public:
  explicit AdapterFolder(const std::filesystem::path& path);

  [[nodiscard]] const std::filesystem::path& path() const { return tensors_.path(); }
  [[nodiscard]] const models::AdapterSettings& settings() const { return settings_; }
  /// The factors, which must be those of models::adapter_table(model, settings()), all of them and no others.
  /// Must not outlive this object.
  [[nodiscard]] std::unique_ptr<WeightSource> weights(const models::ParameterTable& model) const;

 private:
  HubFolder tensors_;
  models::AdapterSettings settings_;
};

/// The text of an adapter_config.json that PEFT reads. `base`: where the model lies that the adapter is for.
[[nodiscard]] std::string adapter_config_text(const models::ParameterTable& model,
                                              const models::AdapterSettings& settings,
                                              const std::string& base);

}  // namespace moebius::hub
