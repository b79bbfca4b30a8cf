#include "commands/inference.h"

#include <fmt/format.h>
#include <numeric>

#include "base/text.h"
#include "models/models.h"
#include "objectives/host_batch.h"

namespace moebius::commands {
namespace {

constexpr std::string_view kSection = "parallel.";  // of a job file; here they are options

cluster::Degrees degrees_of(const models::ModelConfig& config, const InferenceMesh& wanted,
                            std::int64_t ranks) {
  const std::int64_t expert =
      wanted.expert.value_or(config.experts == 0 ? 1 : std::gcd(config.experts, ranks));
  const cluster::Degrees degrees{.tensor = wanted.tensor.value_or(1), .expert = expert};
  std::vector<std::string> problems;
  for (const models::MeshProblem& problem : models::check_mesh(config, degrees)) {
    problems.push_back("--" + problem.text.substr(kSection.size()));
  }
  if (!problems.empty()) throw UsageError(join(problems, "\n"));
  return degrees;
}

}  // namespace

OpenModel open_model(const std::string& path, Session& session) {
  auto& cluster = session.cluster;
  hub::ModelSource source = cluster.together("open the model", [&] { return hub::ModelSource(path); });
  auto config = cluster.together("read the config",
                                 [&] { return models::read_config(source.config(), source.config_name()); });
  return {std::move(source), std::move(config)};
}

InferenceModel::InferenceModel(OpenModel& model, const InferenceMesh& wanted, std::int64_t longest,
                               Session& session)
    : table_(models::parameter_table(model.config)) {
  auto& cluster = session.cluster;
  const auto mesh = cluster.together("check the mesh", [&] {
    return cluster::Mesh(cluster.size(), cluster.rank(), degrees_of(model.config, wanted, cluster.size()));
  });
  cluster.watchdog().use(mesh);
  exchange_ = parallel::make_mpi_exchange(cluster, mesh);
  cluster.together("load the weights", [&] {
    const auto stored =
        model.source.weights(table_);  // before memory is taken: sizes that are wrong are huge
    layout_.emplace(table_, mesh);
    weights_.emplace(*layout_, weight_memory_);
    hub::load_weights(*stored, *weights_);
  });
  decoder_.emplace(
      model.config,
      Decoder::Parts{
          .weights = *weights_, .exchange = *exchange_, .activations = activations_, .workspace = workspace_},
      Decoder::Options{.longest = longest});
}

std::vector<float> InferenceModel::score(const std::vector<std::int32_t>& ids) {
  data::MicroBatch row;
  if (!ids.empty()) row.append({.ids = ids, .labels = ids, .loss_scale = {}});
  const models::HostBatch host = objectives::host_batch(row, tensor_degree());
  Decoder::Saved saved(activations_);
  const auto hidden = decoder_->forward(host.view(), Decoder::Keep::nothing, saved);
  std::vector<float> log_probabilities(std::size_t(host.target_count()));
  decoder_->log_probabilities(hidden, host.view(), {log_probabilities.data(), {host.target_count()}});
  return log_probabilities;
}

}  // namespace moebius::commands
