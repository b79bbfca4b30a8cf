#include "training/reference_cache.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/stopwatch.h"
#include "base/text.h"
#include "objectives/host_batch.h"
#include "parallel/host_sum.h"
#include "training/reference_model.h"
#include "training/run_files.h"

namespace moebius::training {
namespace {

using cluster::Axis;

constexpr std::int64_t kScoredAtOnce = 32;  // micro batches, before their results are read

/// The packs of training and validation in one list.
std::vector<const data::Packs*> all_packs(const Datasets& datasets) {
  return {&datasets.train, &datasets.validation};
}

/// Whether the store has a list for every sample, and this rank's share of its parts is what was written.
bool is_whole(const data::ValueStore& store, const Datasets& datasets, const cluster::Cluster& cluster) {
  for (std::int64_t part = cluster.rank(); part < store.parts(); part += cluster.size()) store.verify(part);
  return std::ranges::all_of(all_packs(datasets), [&](const data::Packs* packs) {
    return std::ranges::all_of(packs->samples,
                               [&](std::int64_t sample) { return store.find(sample).has_value(); });
  });
}

/// What was finished in the folder, where all ranks find it whole.
std::shared_ptr<const data::ValueStore> found_in(const std::filesystem::path& folder, std::int64_t parts,
                                                 const Datasets& datasets, cluster::Cluster& cluster) {
  std::shared_ptr<const data::ValueStore> store;
  std::int64_t is_good = 0;
  try {
    if (parts > 0) store = std::make_shared<data::ValueStore>(folder, parts);
    is_good = store != nullptr && is_whole(*store, datasets, cluster) ? 1 : 0;
  } catch (const InputError&) {  // damaged: it is made again
  }
  return cluster.all_reduce("is the cache whole", is_good, cluster::Reduction::min) == 1 ? store : nullptr;
}

/// Of one sample: sequences begin .. end - 1 of the micro batch.
std::vector<float> list_of(const data::MicroBatch& batch, std::size_t pair,
                           std::span<const double> of_tokens) {
  std::vector<float> list;
  for (std::int32_t t = batch.starts[2 * pair]; t < batch.starts[2 * pair + 2]; ++t) {
    if (batch.targets[std::size_t(t)] >= 0) list.push_back(float(of_tokens[std::size_t(t)]));
  }
  return list;
}

/// Runs the data ranks' shares of all packs through the reference; one rank of each writes.
template <Platform P>
class Scorer {
 public:
  Scorer(const Start& start, ModelState<P>& state, std::filesystem::path folder)
      : start_(start),
        exchange_(*state.exchange),
        mesh_(state.exchange->mesh()),
        folder_(std::move(folder)),
        weights_(state.frozen ? state.frozen->weights : state.weights.weights),
        model_(start.job, start.config, weights_, state) {}

  void load(Queue<P::kSpace> queue) {
    fill_frozen(start_.read_reference, start_.job.general.seed, weights_, queue);
  }
  void open() {
    if (speaks()) writer_.emplace(folder_, mesh_.index(Axis::data));
  }
  void score(const data::SampleSource& samples, const data::Packs& packs) {
    const job::Train& train = start_.job.train;
    const data::Batches batches(samples, packs,
                                {.sizes = {train.micro_batch_size, train.global_batch_size},
                                 .order = data::Order::as_in_file,
                                 .seed = 0});
    std::vector<data::MicroBatch> own;
    const std::int64_t replicas = mesh_.degree(Axis::data);
    for (std::int64_t first = 0; first < batches.pass_length(); first += replicas) {
      own.push_back(batches.pass(first + mesh_.index(Axis::data)));
      const bool is_last = first + replicas >= batches.pass_length();
      if (std::int64_t(own.size()) == kScoredAtOnce || is_last) write(own);
    }
  }
  void finish() {
    if (writer_) writer_->finish();
  }

 private:
  [[nodiscard]] bool is_last_stage() const {
    return mesh_.index(Axis::pipeline) == mesh_.degree(Axis::pipeline) - 1;
  }
  [[nodiscard]] bool speaks() const { return is_last_stage() && mesh_.index(Axis::tensor_context) == 0; }

  void write(std::vector<data::MicroBatch>& batches) {
    const auto found = model_.log_probabilities(batches);
    for (std::size_t i = 0; i < batches.size(); ++i) {
      const data::MicroBatch& batch = batches[i];
      std::vector<double> of_tokens(std::size_t(batch.tokens()));
      const models::HostBatch host = objectives::host_batch<P::kSpace>(batch, mesh_);
      for (std::size_t t = 0; t < found[i].size(); ++t)
        of_tokens[std::size_t(host.target_tokens()[t])] = double(found[i][t]);
      parallel::sum_on_host(exchange_, {Axis::context, "log-probabilities"}, of_tokens);
      if (!writer_) continue;
      for (std::size_t pair = 0; pair < batch.samples.size(); ++pair)
        writer_->add(batch.samples[pair], list_of(batch, pair, of_tokens));
    }
    batches.clear();
  }

  const Start& start_;
  parallel::Exchange<P::kSpace>& exchange_;
  const cluster::Mesh& mesh_;
  std::filesystem::path folder_;
  const models::Shards<typename P::Storage, P::kSpace>& weights_;
  ReferenceModel<P> model_;
  std::optional<data::ValueWriter> writer_;
};

/// What decides the numbers besides the mesh, which may only round them otherwise.
template <Platform P>
std::string key_of(const Start& start, const Datasets& datasets) {
  return fmt::format("{}\n{}\n{}\n{}\n{}", datasets.key, start.reference_key, start.job.general.seed,
                     name_of(kDtypeOf<typename P::Storage>), int(start.job.moe.routing));
}

}  // namespace

template <Platform P>
std::shared_ptr<const data::ValueStore> cached_reference(const Start& start, const Datasets& datasets,
                                                         ModelState<P>& state, cluster::Cluster& cluster,
                                                         const Log& log) {
  const cluster::Phase phase(cluster.watchdog(), "reference");
  const Stopwatch watch;
  CacheFolders folders(std::filesystem::path(start.job.general.output) / "cache", "reference-", cluster);
  const std::filesystem::path folder = folders.folder_of(key_of<P>(start, datasets));
  folders.remove_others();
  const std::int64_t parts = folders.finished_parts(folder);
  if (auto found = found_in(folder, parts, datasets, cluster)) {
    log.info("found the reference's log-probabilities in {}", folder.string());
    return found;
  }
  if (parts > 0) log.warning("{} is damaged or lacks samples; it is made again", folder.string());
  folders.begin(folder);
  Scorer<P> scorer(start, state, folder);
  cluster.together("load the reference", [&] { scorer.load(state.queue); });
  cluster.together("open the cache of the reference", [&] { scorer.open(); });
  for (const data::Packs* packs : all_packs(datasets)) scorer.score(*datasets.samples, *packs);
  cluster.together("write the cache of the reference", [&] { scorer.finish(); });
  const std::int64_t writers = state.exchange->mesh().degree(Axis::data);
  folders.finish(folder, writers);
  log.info("the reference's log-probabilities are in {} ({})", folder.string(),
           seconds_text(watch.seconds()));
  return cluster.together("open the cache of the reference",
                          [&] { return std::make_shared<const data::ValueStore>(folder, writers); });
}

template <Space S>
std::vector<std::vector<float>> log_probabilities_in(const data::ValueStore& store,
                                                     objectives::Batches batches, const cluster::Mesh& mesh) {
  std::vector<std::vector<float>> values(batches.size());
  if (mesh.index(Axis::pipeline) < mesh.degree(Axis::pipeline) - 1) return values;
  for (std::size_t i = 0; i < batches.size(); ++i) {
    const data::MicroBatch& batch = batches[i];
    std::vector<float> of_targets;
    for (const std::int64_t sample : batch.samples) {
      const auto list = store.find(sample).value();
      of_targets.insert(of_targets.end(), list.begin(), list.end());
    }
    std::vector<float> of_tokens(std::size_t(batch.tokens()));
    std::size_t next = 0;
    for (std::size_t t = 0; t < of_tokens.size(); ++t) {
      if (batch.targets[t] >= 0) of_tokens[t] = of_targets.at(next++);
    }
    values[i] = objectives::host_batch<S>(batch, mesh).of_targets(of_tokens);
  }
  return values;
}

#define INSTANTIATE_SPACE(S)                                        \
  template std::vector<std::vector<float>> log_probabilities_in<S>( \
      const data::ValueStore&, objectives::Batches, const cluster::Mesh&);
MOEBIUS_EACH_SPACE(INSTANTIATE_SPACE)
#define INSTANTIATE(P)                                               \
  template std::shared_ptr<const data::ValueStore> cached_reference( \
      const Start&, const Datasets&, ModelState<P>& state, cluster::Cluster&, const Log&);
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::training
