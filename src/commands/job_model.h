#pragma once
#include "commands/language.h"
#include "commands/session.h"
#include "hub/hub.h"
#include "models/models.h"

namespace moebius::commands {

/// The model that a job names: a folder or checkpoint with weights, or a config for a random start.
struct JobModel {
  std::optional<hub::ModelSource> source;  // nothing with init = "random"
  models::ModelFiles files;
  models::ModelConfig config;
  std::unique_ptr<Language> language;
  std::unique_ptr<hub::AdapterSource> adapter;  // that lora.adapter names; null: none
};

/// Reads the small files, no weights. Throws InputError. Not collective.
[[nodiscard]] JobModel open_job_model(const job::Job& job);

/// Opens the adapter that lora.adapter names, where it names one, and completes [lora] from it; with [lora],
/// the model's files get the adapter_config.json that goes into checkpoints. Throws InputError; UsageError
/// with every setting that was given and is not the adapter's. Not collective.
void open_adapter(job::Job& job, JobModel& model);

}  // namespace moebius::commands
