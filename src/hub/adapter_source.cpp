#include "hub/adapter_source.h"

#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "hub/json_text.h"

namespace moebius::hub {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr std::int64_t kMaxConfigBytes = 100'000'000;  // whole names of every expert's layers take some MB

/// adapter_config.json with errors that name file and key.
class ConfigText {
 public:
  ConfigText(const std::string& text, std::string file)
      : file_(std::move(file)), content_(parse_json_object(text, file_)) {}

  /// Null where the key is missing or null.
  [[nodiscard]] const Json* find(const char* key) const {
    const auto found = content_.find(key);
    return found == content_.end() || found->is_null() ? nullptr : &*found;
  }
  [[noreturn]] void refuse(const std::string& key, const std::string& reason) const {
    const auto found = content_.find(key);
    const std::string value = found == content_.end() ? "is missing" : "= " + found->dump();
    throw InputError(fmt::format("{}: {} {}: {}", file_, key, value, reason));
  }
  [[nodiscard]] bool is_on(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr) return false;
    if (!value->is_boolean()) refuse(key, "must be true or false");
    return value->get<bool>();
  }
  [[nodiscard]] double number(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr || !value->is_number()) refuse(key, "must be a number");
    return value->get<double>();
  }
  [[nodiscard]] const Json& all() const { return content_; }

 private:
  std::string file_;
  Json content_;
};

/// Whether a value says nothing: null, false, "", [], {}.
bool is_idle(const Json& value) {
  return value.is_null() || (value.is_boolean() && !value.get<bool>()) ||
         ((value.is_array() || value.is_object() || value.is_string()) && value.empty()) ||
         (value.is_string() && value == "none");
}

/// What changes what an adapter computes, or which weights have one, in ways that are not built.
constexpr std::array kNotBuilt{"alora_invocation_tokens",
                               "alpha_pattern",
                               "arrow_config",
                               "bias",
                               "corda_config",
                               "exclude_modules",
                               "fan_in_fan_out",
                               "kasa_config",
                               "layer_replication",
                               "layers_pattern",
                               "layers_to_transform",
                               "lora_bias",
                               "modules_to_save",
                               "rank_pattern",
                               "target_parameters",
                               "trainable_token_indices",
                               "velora_config"};

void refuse_what_is_not_built(const ConfigText& config) {
  const Json* type = config.find("peft_type");
  if (type == nullptr || *type != "LORA")
    config.refuse("peft_type", "adapters that are not LORA are not built");
  for (const auto& [key, value] : config.all().items()) {
    const bool is_variant = key.starts_with("use_") && key != "use_rslora";
    const bool is_listed = std::find(kNotBuilt.begin(), kNotBuilt.end(), key) != kNotBuilt.end();
    if ((is_variant || is_listed) && !is_idle(value)) config.refuse(key, "is not built");
  }
}

std::vector<std::string> targets_of(const ConfigText& config) {
  const char* key = "target_modules";
  const Json* value = config.find(key);
  if (value != nullptr && *value == "all-linear") return {"all-linear"};
  if (value != nullptr && value->is_string()) config.refuse(key, "regular expressions are not built");
  if (value == nullptr || !value->is_array() || value->empty()) config.refuse(key, "must be a list of names");
  std::vector<std::string> targets;
  for (const Json& name : *value) {
    if (!name.is_string()) config.refuse(key, "must be a list of names");
    targets.push_back(name.get<std::string>());
  }
  return targets;
}

models::AdapterSettings settings_of(const ConfigText& config) {
  refuse_what_is_not_built(config);
  using Scaling = models::AdapterSettings::Scaling;
  models::AdapterSettings settings{
      .rank = std::int64_t(config.number("r")),
      .alpha = config.number("lora_alpha"),
      .scaling = config.is_on("use_rslora") ? Scaling::by_root_of_rank : Scaling::by_rank,
      .dropout = config.find("lora_dropout") == nullptr ? 0 : config.number("lora_dropout"),
      .targets = targets_of(config)};
  if (settings.rank < 1 || double(settings.rank) != config.number("r"))
    config.refuse("r", "must be a whole number above 0");
  if (!(settings.dropout >= 0 && settings.dropout < 1))
    config.refuse("lora_dropout", "must be from 0 to below 1");
  return settings;
}

/// The text of adapter_config.json in a folder.
std::string read_config_file(const fs::path& folder) {
  if (!fs::exists(folder))
    throw InputError(folder.string() + ": no such adapter (a PEFT folder, or a checkpoint)");
  if (!fs::exists(folder / kAdapterConfig))
    throw InputError(fmt::format("{}: no {} in this folder; an adapter's folder has one", folder.string(),
                                 kAdapterConfig));
  return read_file(folder / kAdapterConfig, kMaxConfigBytes);
}

/// The same in a checkpoint.
std::string config_in(const checkpoint::Reader& reader) {
  const models::ModelFiles& files = reader.contents().model_files;
  const auto found = files.find(kAdapterConfig);
  if (found == files.end()) throw InputError(reader.file().string() + ": holds a whole model, no adapter");
  return found->second;
}

}  // namespace

AdapterSource::AdapterSource(const fs::path& path) : path_(path) {
  if (fs::is_regular_file(path)) {
    reader_.emplace(path);
    config_name_ = fmt::format("{}: {}", path.string(), kAdapterConfig);
  } else {
    config_name_ = (path / kAdapterConfig).string();
  }
  const ConfigText config(reader_ ? config_in(*reader_) : read_config_file(path), config_name_);
  settings_ = settings_of(config);
  if (const Json* base = config.find("base_model_name_or_path"); base != nullptr && base->is_string())
    base_ = base->get<std::string>();
  if (!reader_) folder_.emplace(path, kAdapterTensors);
}

bool AdapterSource::is_one(const fs::path& path) {
  if (fs::is_directory(path)) return fs::exists(path / kAdapterConfig) && !fs::exists(path / "config.json");
  return fs::is_regular_file(path) &&
         checkpoint::Reader(path).contents().model_files.contains(kAdapterConfig);
}

std::unique_ptr<WeightSource> AdapterSource::weights(const models::ParameterTable& model) const {
  const auto problems = models::target_problems(model, settings_.targets);
  if (!problems.empty())
    throw InputError(fmt::format("{}: target_modules: {}", config_name_, join(problems, "; ")));
  models::ParameterTable table = models::adapter_table(model, settings_);
  if (reader_) return std::make_unique<CheckpointWeights>(*reader_, std::move(table));
  auto weights = std::make_unique<HubWeights>(*folder_, std::move(table));
  if (!weights->unused().empty())
    throw InputError(fmt::format("{}: {} tensors belong to no layer that target_modules names: {}",
                                 (path_ / kAdapterTensors).string(), weights->unused().size(),
                                 some_of(weights->unused())));
  return weights;
}

std::string adapter_config_text(const models::ParameterTable& model, const models::AdapterSettings& settings,
                                const std::string& base) {
  const bool is_root = settings.scaling == models::AdapterSettings::Scaling::by_root_of_rank;
  Json config{{"base_model_name_or_path", base},
              {"bias", "none"},
              {"fan_in_fan_out", false},
              {"inference_mode", true},
              {"init_lora_weights", true},
              {"lora_alpha", settings.alpha},
              {"lora_dropout", settings.dropout},
              {"modules_to_save", nullptr},
              {"peft_type", "LORA"},
              {"r", settings.rank},
              {"target_modules", models::target_modules(model, settings.targets)},
              {"task_type", "CAUSAL_LM"},
              {"use_dora", false},
              {"use_rslora", is_root}};
  const auto whole_alpha = std::int64_t(settings.alpha);
  if (double(whole_alpha) == settings.alpha) config["lora_alpha"] = whole_alpha;
  return config.dump(2) + "\n";
}

}  // namespace moebius::hub
