#include <algorithm>
#include <filesystem>
#include <fmt/format.h>

#include "commands/job_model.h"
#include "training/training.h"

namespace moebius::commands {
namespace {

/// The weights of a source, opened when they are asked for. Must not outlive the source.
checkpoint::SlabReading reading(hub::ModelSource& source, const models::ModelConfig& config,
                                Session& session) {
  return [&](std::span<const models::Slab> wanted, const checkpoint::SlabSink& sink) {
    const auto weights = source.weights(models::parameter_table(config));
    for (const std::string& warning : weights->warnings()) session.log.warning("{}", warning);
    weights->read(wanted, sink);
  };
}

/// The model of objective.reference, where it is another than the one that training starts from. It must
/// compute as that one does: its weights run through the same decoder.
std::optional<hub::ModelSource> open_reference(const job::Job& job, const models::ModelConfig& config) {
  const std::string& path = job.objective.reference;
  if (path.empty()) return std::nullopt;
  std::optional<hub::ModelSource> source(path);
  if (models::read_config(source->config(), source->config_name()).computes_as(config)) return source;
  throw InputError(
      fmt::format("{}  objective.reference = \"{}\": its config.json describes another model than "
                  "the one in training (use a reference with the same sizes and settings)",
                  job.place_of("objective.reference"), path));
}

/// The files of a model, as far as names, sizes and times tell.
std::string key_of_files(const std::filesystem::path& path) {
  std::vector<std::filesystem::path> files{path};
  if (std::filesystem::is_directory(path)) {
    const std::filesystem::directory_iterator folder(path);
    for (const auto& entry : folder) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  std::string key;
  for (const std::filesystem::path& file : files) {
    if (!std::filesystem::is_regular_file(file)) continue;
    key +=
        fmt::format("{} {} {}\n", std::filesystem::absolute(file).string(), std::filesystem::file_size(file),
                    std::filesystem::last_write_time(file).time_since_epoch().count());
  }
  return key;
}

std::string reference_key(const job::Job& job, const JobModel& model) {
  if (!job.objective.reference.empty()) return key_of_files(job.objective.reference);
  return job.model.path.empty() ? model.files.at("config.json") : key_of_files(job.model.path);
}

}  // namespace

ExitCode train(const TrainCommand& command, Session& session) {
  auto& cluster = session.cluster;
  job::Job job = load_job(command.job, job::Purpose::train, session);
  JobModel model = cluster.together("open the model", [&] {
    JobModel opened = open_job_model(job);
    open_adapter(job, opened);
    return opened;
  });
  training::Start start{.job = job,
                        .config = model.config,
                        .files = model.files,
                        .text = model.language->text(),
                        .read_weights = {},
                        .read_adapter = {},
                        .read_reference = {}};
  if (model.source) start.read_weights = reading(*model.source, model.config, session);
  start.read_reference = start.read_weights;
  auto reference = cluster.together("open the reference", [&] { return open_reference(job, model.config); });
  if (reference) start.read_reference = reading(*reference, model.config, session);
  if (job.objective.reference_cache)
    start.reference_key =
        cluster.together("look at the reference", [&] { return reference_key(job, model); });
  if (model.adapter) {
    start.read_adapter = [&](std::span<const models::Slab> wanted, const checkpoint::SlabSink& sink) {
      model.adapter->weights(models::parameter_table(model.config))->read(wanted, sink);
    };
  }
  const auto outcome = training::train(start, cluster, session.environment, session.log);
  return outcome == training::Outcome::finished ? ExitCode::done : ExitCode::stopped;
}

}  // namespace moebius::commands
