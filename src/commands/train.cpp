#include "commands/job_model.h"
#include "training/training.h"

namespace moebius::commands {

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
                        .read_adapter = {}};
  if (model.source) {
    start.read_weights = [&](std::span<const models::Slab> wanted, const checkpoint::SlabSink& sink) {
      const auto source = model.source->weights(models::parameter_table(model.config));
      for (const std::string& warning : source->warnings()) session.log.warning("{}", warning);
      source->read(wanted, sink);
    };
  }
  if (model.adapter) {
    start.read_adapter = [&](std::span<const models::Slab> wanted, const checkpoint::SlabSink& sink) {
      model.adapter->weights(models::parameter_table(model.config))->read(wanted, sink);
    };
  }
  const auto outcome = training::train(start, cluster, session.environment, session.log);
  return outcome == training::Outcome::finished ? ExitCode::done : ExitCode::stopped;
}

}  // namespace moebius::commands
