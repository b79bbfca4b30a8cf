#include "commands/inference.h"

#include <filesystem>
#include <fmt/format.h>
#include <numeric>

#include "base/text.h"
#include "models/decoder/decoder.h"
#include "models/models.h"
#include "objectives/objectives.h"
#include "parallel/parallel.h"
#include "training/hardware.h"

namespace moebius::commands {
namespace {

constexpr std::string_view kSection = "parallel.";  // of a job file; here they are options

cluster::Degrees degrees_of(const models::ModelConfig& config, const InferenceSettings& wanted,
                            std::int64_t ranks) {
  const std::int64_t pipeline = wanted.pipeline.value_or(1);
  const std::int64_t expert =
      wanted.expert.value_or(config.experts == 0 ? 1 : std::gcd(config.experts, divide_up(ranks, pipeline)));
  const cluster::Degrees degrees{.tensor = wanted.tensor.value_or(1),
                                 .context = wanted.context.value_or(1),
                                 .pipeline = pipeline,
                                 .expert = expert};
  std::vector<std::string> problems;
  for (const models::MeshProblem& problem : models::check_mesh(config, degrees)) {
    problems.push_back("--" + problem.text.substr(kSection.size()));
  }
  if (!problems.empty()) throw UsageError(join(problems, "\n"));
  return degrees;
}

/// Where the model lies that an adapter is for.
std::string base_of(const hub::AdapterSource& adapter) {
  if (!adapter.base().empty() && std::filesystem::exists(adapter.base())) return adapter.base();
  throw InputError(fmt::format(
      "{}: holds an adapter, and the model that it is for, '{}', is not there (name the model, and this with "
      "--adapter)",
      adapter.path().string(), adapter.base()));
}

template <Platform P>
class LoadedModel final : public InferenceModel {
 public:
  static constexpr Space kSpace = P::kSpace;
  using T = typename P::Storage;
  using Decoder = models::Decoder<P>;

  LoadedModel(OpenModel& model, const cluster::Mesh& mesh, std::int64_t longest,
              std::unique_ptr<training::Hardware<kSpace>> hardware, Session& session)
      : hardware_(std::move(hardware)),
        queue_(hardware_->queue()),
        table_(models::parameter_table(model.config)),
        exchange_(hardware_->make_exchange(session.cluster, mesh)) {
    const models::Stages stages = models::stages_of(model.config, mesh.degree(cluster::Axis::pipeline));
    session.cluster.together("load the weights", [&] {
      const auto stored =
          model.source.weights(table_);  // before memory is taken: sizes that are wrong are huge
      layout_.emplace(table_, mesh, stages);
      weights_.emplace(*layout_, weight_memory_);
      hub::load_weights<T, kSpace>(*stored, *weights_, queue_);
      if (!model.adapter) return;
      const auto factors = model.adapter->weights(table_);
      adapter_layout_.emplace(factors->table(), mesh, stages);
      adapter_.emplace(*adapter_layout_, weight_memory_);
      hub::load_weights<T, kSpace>(*factors, *adapter_, queue_);
    });
    decoder_.emplace(
        model.config,
        typename Decoder::Parts{.weights = *weights_,
                                .exchange = *exchange_,
                                .activations = slots_.first(),
                                .remade = remade_,
                                .workspace = workspace_,
                                .staging = staging_,
                                .queue = queue_,
                                .adapter = adapter_ ? &*adapter_ : nullptr},
        typename Decoder::Options{.longest = longest,
                                  .stages = stages,
                                  .adapter_scale = model.adapter ? model.adapter->settings().scale() : 1});
    passes_.emplace(*decoder_, typename objectives::Passes<P>::Memory{
                                   .slots = slots_, .pending = pending_, .messages = messages_});
  }

  [[nodiscard]] const cluster::Mesh& mesh() const override { return exchange_->mesh(); }
  [[nodiscard]] std::vector<float> score(const std::vector<std::int32_t>& ids) override;
  [[nodiscard]] std::unique_ptr<Decoding> decode(std::int64_t sequences, std::int64_t capacity) override;

 private:
  class Sequences;
  void finish() { exchange_->wait({cluster::Axis::world, "end of the pass"}, queue_); }

  std::unique_ptr<training::Hardware<kSpace>> hardware_;  // first: what follows lies on it
  Queue<kSpace> queue_;
  models::ParameterTable table_;
  std::unique_ptr<parallel::Exchange<kSpace>> exchange_;
  ArenaSlots<kSpace> slots_{"activations", 1}, pending_{"pending", 0};
  Arena<kSpace> weight_memory_{"weights"}, messages_{"messages"}, remade_{"activations made again"},
      workspace_{"workspace"};
  Staging<kSpace> staging_{"staging"};
  std::optional<models::ShardLayout> layout_, adapter_layout_;
  std::optional<models::Shards<T, kSpace>> weights_, adapter_;
  std::optional<Decoder> decoder_;
  std::optional<objectives::Passes<P>> passes_;
};

template <Platform P>
std::vector<float> LoadedModel<P>::score(const std::vector<std::int32_t>& ids) {
  data::MicroBatch row;
  if (!ids.empty()) row.append({.ids = ids, .labels = ids, .loss_scale = {}});
  const objectives::QueuedResult queued = passes_->evaluate({&row, 1})[0];
  finish();
  // Each context rank has those of its targets; target t stands behind token t.
  std::vector<double> all(ids.empty() ? 0 : ids.size() - 1);
  if (const auto& predictions = queued.predictions) {
    for (std::size_t i = 0; i < predictions->tokens.size(); ++i)
      all[std::size_t(predictions->tokens[i])] = predictions->log_probabilities(std::int64_t(i));
  }
  staging_.release({});
  parallel::sum_on_host(*exchange_, {cluster::Axis::context, "log-probabilities"}, all);
  return {all.begin(), all.end()};
}

template <Platform P>
class LoadedModel<P>::Sequences final : public Decoding {
 public:
  Sequences(LoadedModel& model, std::int64_t sequences, std::int64_t capacity)
      : model_(model),
        cache_(model.decoder_->make_cache(sequences, capacity, memory_)),
        logits_(memory_.template make<float>(sequences, model.decoder_->config().vocab)) {}

  void step(std::span<const std::vector<std::int32_t>> new_tokens, std::span<float> logits) override {
    model_.decoder_->decode(new_tokens, cache_, logits_);
    const View<float, 1, Space::host> staged = model_.staging_.template make<float>(logits_.size());
    download<float, kSpace>(logits_.flat(), staged, model_.queue_);
    model_.finish();
    std::copy_n(staged.data, staged.size(), logits.begin());
    model_.staging_.release({});
  }

 private:
  LoadedModel& model_;
  Arena<kSpace> memory_{"cache"};
  layers::KvCache<P> cache_;
  View<float, 2, kSpace> logits_;  // [sequences, vocab]
};

template <Platform P>
std::unique_ptr<Decoding> LoadedModel<P>::decode(std::int64_t sequences, std::int64_t capacity) {
  return std::make_unique<Sequences>(*this, sequences, capacity);
}

}  // namespace

OpenModel open_model(const ModelArguments& model, Session& session) {
  return session.cluster.together("open the model", [&]() -> OpenModel {
    std::string path = model.path;
    std::unique_ptr<hub::AdapterSource> adapter;
    if (hub::AdapterSource::is_one(path)) {
      if (!model.adapter.empty())
        throw UsageError(
            fmt::format("{} is an adapter already (leave --adapter out, or name its model)", path));
      adapter = std::make_unique<hub::AdapterSource>(path);
      path = base_of(*adapter);
    } else if (!model.adapter.empty()) {
      adapter = std::make_unique<hub::AdapterSource>(model.adapter);
    }
    hub::ModelSource source(path);
    auto config = models::read_config(source.config(), source.config_name());
    return {std::move(source), std::move(config), std::move(adapter)};
  });
}

std::unique_ptr<InferenceModel> load_model(OpenModel& model, const InferenceSettings& settings,
                                           std::int64_t longest, Session& session) {
  auto& cluster = session.cluster;
  const auto mesh = cluster.together("check the mesh", [&] {
    return cluster::Mesh(cluster.size(), cluster.rank(), degrees_of(model.config, settings, cluster.size()));
  });
  cluster.watchdog().use(mesh);
  const training::Compute compute =
      training::choose_compute({.device = settings.device, .precision = settings.precision}, cluster);
  return training::on_platform(
      compute.platform, [&]<class P>(std::type_identity<P>) -> std::unique_ptr<InferenceModel> {
        auto hardware = cluster.together(
            "open the hardware", [&] { return std::make_unique<training::Hardware<P::kSpace>>(compute); });
        return std::make_unique<LoadedModel<P>>(model, mesh, longest, std::move(hardware), session);
      });
}

}  // namespace moebius::commands
