#include "commands/job_model.h"
#include "training/training.h"

namespace moebius::commands {

ExitCode train(const TrainCommand& command, Session& session) {
  auto& cluster = session.cluster;
  const job::Job job = load_job(command.job, job::Purpose::train, session);
  JobModel model = cluster.together("open the model", [&] { return open_job_model(job); });
  const auto load_weights = [&](const models::Shards<float, Space::host>& shards) {
    if (!model.source) return models::initialise(shards, std::uint64_t(job.general.seed));
    const auto source = model.source->weights(shards.layout().table());
    for (const std::string& warning : source->warnings()) session.log.warning("{}", warning);
    hub::load_weights(*source, shards);
  };
  const training::Start start{.job = job,
                              .config = model.config,
                              .files = model.files,
                              .text = model.language->text(),
                              .load_weights = load_weights};
  const auto outcome = training::train(start, cluster, session.environment, session.log);
  return outcome == training::Outcome::finished ? ExitCode::done : ExitCode::stopped;
}

}  // namespace moebius::commands
