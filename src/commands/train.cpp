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
  if (model.adapter) {
    start.read_adapter = [&](std::span<const models::Slab> wanted, const checkpoint::SlabSink& sink) {
      model.adapter->weights(models::parameter_table(model.config))->read(wanted, sink);
    };
  }
  const auto outcome = training::train(start, cluster, session.environment, session.log);
  return outcome == training::Outcome::finished ? ExitCode::done : ExitCode::stopped;
}

}  // namespace moebius::commands
