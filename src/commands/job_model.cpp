#include "commands/job_model.h"

#include <filesystem>
#include <fmt/format.h>

#include "base/file.h"
#include "job/report.h"
#include "job/write.h"
#include "plan/rules.h"

namespace moebius::commands {
namespace {

constexpr std::int64_t kLongestConfig = std::int64_t{1} << 24;

/// The files of a model without weights: the tokenizer's folder, and the config, which may lie in that
/// folder.
models::ModelFiles files_of_random_start(const job::Model& model) {
  models::ModelFiles files;
  if (!model.tokenizer.empty()) {
    const bool brings_config = model.config.empty();
    files = models::read_model_files(
        model.tokenizer, brings_config ? models::ConfigFile::required : models::ConfigFile::optional);
  }
  if (!model.config.empty()) files["config.json"] = read_file(model.config, kLongestConfig);
  return files;
}

/// Whether both choose the same layers.
bool is_same_choice(const models::ModelConfig& config, const std::vector<std::string>& a,
                    const std::vector<std::string>& b) {
  const models::ParameterTable table = models::parameter_table(config);
  return models::target_modules(table, a) == models::target_modules(table, b);
}

/// [lora] as the adapter says, which the training starts from.
void complete_lora(job::Job& job, const models::ModelConfig& config, const models::AdapterSettings& found) {
  using Scaling = models::AdapterSettings::Scaling;
  job::Lora lora = *job.lora;
  job::Report report(job);
  const auto take = [&](const char* key, auto& setting, const auto& given, bool is_same) {
    report.refuse_if(job.places.contains(key) && !is_same, {key},
                     fmt::format("{} differs from the adapter in {} (leave it out)",
                                 job::setting_text(job, key), lora.adapter));
    setting = given;
  };
  const bool is_root = found.scaling == Scaling::by_root_of_rank;
  take("lora.rank", lora.rank, found.rank, lora.rank == found.rank);
  take("lora.alpha", lora.alpha, found.alpha, lora.alpha == found.alpha);
  take("lora.rslora", lora.rslora, is_root, lora.rslora == is_root);
  take("lora.targets", lora.targets, found.targets, is_same_choice(config, lora.targets, found.targets));
  if (!job.places.contains("lora.dropout")) lora.dropout = found.dropout;
  job::throw_if_any(report.take());
  job.lora = lora;
}

}  // namespace

JobModel open_job_model(const job::Job& job) {
  JobModel model;
  std::string name = job.model.config, origin = job.model.tokenizer;
  if (name.empty()) name = origin + "/config.json";
  if (job.model.path.empty()) {
    model.files = files_of_random_start(job.model);
  } else {
    model.source.emplace(job.model.path);
    model.files = model.source->files();
    name = model.source->config_name();
    origin = job.model.path;
  }
  model.config = models::read_config(model.files.at("config.json"), name);
  model.language = std::make_unique<Language>(model.files, origin, model.config.vocab);
  return model;
}

void open_adapter(job::Job& job, JobModel& model) {
  if (!job.lora) return;
  plan::check_against_model(job, model.config);
  const models::ParameterTable table = models::parameter_table(model.config);
  if (!job.lora->adapter.empty()) {
    model.adapter = std::make_unique<hub::AdapterSource>(job.lora->adapter);
    (void)model.adapter->weights(table);  // does it fit?
    complete_lora(job, model.config, model.adapter->settings());
  }
  const std::string base =
      job.model.path.empty() ? "" : std::filesystem::absolute(job.model.path).lexically_normal().string();
  model.files[hub::kAdapterConfig] = hub::adapter_config_text(table, *plan::adapter_of(job), base);
}

}  // namespace moebius::commands
