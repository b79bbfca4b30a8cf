#include "commands/job_model.h"

#include "base/file.h"

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

}  // namespace moebius::commands
