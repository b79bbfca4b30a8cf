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
};

/// Reads the small files, no weights. Throws InputError. Not collective.
[[nodiscard]] JobModel open_job_model(const job::Job& job);

}  // namespace moebius::commands
