#include "training/run_files.h"

#include <type_traits>
#include <vector>

#include "base/stopwatch.h"
#include "job/write.h"

namespace moebius::training {

using checkpoint::Contents;
using checkpoint::kExpAvg;
using checkpoint::kExpAvgSq;
using checkpoint::kMaster;
using checkpoint::kParameters;
using checkpoint::Reader;

template <Platform P>
RunFiles<P>::RunFiles(const Start& start, cluster::Cluster& cluster, const Log& log)
    : start_(start),
      cluster_(cluster),
      log_(log),
      folder_(std::filesystem::path(start.job.general.output) / "checkpoints", cluster, log) {
  folder_.remove_partials();
}

template <Platform P>
std::optional<checkpoint::Loaded> RunFiles<P>::find(const checkpoint::LoadStep& load) {
  const std::string& resume = start_.job.checkpoint.resume;
  if (resume == "never") return std::nullopt;
  if (resume == "auto") return folder_.load_newest(load);
  // A run that was started from a given checkpoint and has saved since goes on with its own.
  if (auto own = folder_.load_newest(load)) return own;
  return checkpoint::load_checkpoint(resume, load, cluster_);
}

template <Platform P>
std::optional<Contents> RunFiles<P>::peek() {
  const auto found = find([](const Reader&) {});
  if (!found) return std::nullopt;
  return found->contents;
}

template <Platform P>
Place RunFiles<P>::load(ModelState<P>& state) {
  const Stopwatch watch;
  if (state.frozen)
    cluster_.together("load the frozen weights", [&] {
      fill_frozen(start_.read_weights, start_.job.general.seed, state.frozen->weights, state.queue);
    });
  auto& moments = state.adam.moments();
  bool has_moments = false, is_rounded = false;
  const auto loaded = find([&](const Reader& reader) {
    moments.clear(state.queue);  // an attempt on a damaged file may have filled them
    checkpoint::read_weights(reader, state.weights, state.queue);
    has_moments = reader.has_group(kExpAvg);
    is_rounded = !reader.has_group(kMaster) && reader.tensors().front().dtype == Dtype::bfloat16;
    if (!has_moments) return;
    checkpoint::read_owned(reader, kExpAvg, moments.exp_avg, state.queue);
    checkpoint::read_owned(reader, kExpAvgSq, moments.exp_avg_sq, state.queue);
  });
  if (loaded) {
    log_.info("resuming from {}: iteration {} ({:.1f} s)", loaded->file.string(), loaded->contents.iteration,
              watch.seconds());
    warn_of_another_adapter(*loaded);
    if (!has_moments)
      log_.warning("the checkpoint was saved without the optimizer: moments start from zero{}",
                   is_rounded ? ", and weights go on from their values in bf16" : "");
    return {loaded->contents.iteration, loaded->contents.samples};
  }
  cluster_.together("load the weights", [&] { start(state); });
  log_.info("starting from the weights of {} ({:.1f} s)",
            start_.job.model.path.empty() ? "a random start" : start_.job.model.path, watch.seconds());
  return {};
}

/// Factors of one shape fit many models and scales.
template <Platform P>
void RunFiles<P>::warn_of_another_adapter(const checkpoint::Loaded& loaded) const {
  const models::ModelFiles& then = loaded.contents.model_files;
  const auto before = then.find(models::kAdapterConfig), now = start_.files.find(models::kAdapterConfig);
  if (before == then.end() || now == start_.files.end() || before->second == now->second) return;
  log_.warning(
      "{}: was trained with another [lora] or beside another model.path than this job's; going on with this "
      "job's",
      loaded.file.string());
}

template <Platform P>
void RunFiles<P>::start(ModelState<P>& state) const {
  const checkpoint::SlabReading& reading = state.frozen ? start_.read_adapter : start_.read_weights;
  if (reading) {
    checkpoint::read_into(reading, state.weights, state.queue);
  } else {
    models::initialise(state.weights, std::uint64_t(start_.job.general.seed), state.queue);
  }
}

template <Platform P>
Contents RunFiles<P>::contents(Place place) const {
  return {.iteration = place.iteration,
          .samples = place.packs,
          .seed = start_.job.general.seed,
          .started_on = start_.job.started_on,
          .job = job::write_job(start_.job),
          .model_files = start_.files};
}

template <Platform P>
void RunFiles<P>::save(ModelState<P>& state, Place place) {
  const cluster::Phase phase(cluster_.watchdog(), "save");
  const Stopwatch watch;
  state.adam.wait_for_all_weights(state.queue);
  const Contents saved = contents(place);
  checkpoint::WriteRequest request{.contents = saved, .table = state.table, .groups = {}};
  request.groups.push_back(checkpoint::group_of(kParameters, state.weights.weights, state.queue));
  if (start_.job.checkpoint.optimizer) {
    if (state.weights.truth() != models::Truth::weights)
      request.groups.push_back(checkpoint::truth_group_of(kMaster, state.weights, state.queue));
    const auto& moments = state.adam.moments();
    request.groups.push_back(checkpoint::group_of_owned(kExpAvg, moments.exp_avg, state.queue));
    request.groups.push_back(checkpoint::group_of_owned(kExpAvgSq, moments.exp_avg_sq, state.queue));
  }
  const auto file = folder_.save(request, start_.job.checkpoint.keep);
  log_.info("saved {} ({:.2f} s)", file.string(), watch.seconds());
}

template <Platform P>
std::int64_t RunFiles<P>::checkpoint_bytes(const models::ParameterTable& table) const {
  using Storage = typename P::Storage;
  std::vector<Dtype> groups{kDtypeOf<Storage>};
  if (start_.job.checkpoint.optimizer) {
    const job::Optimizer& settings = start_.job.optimizer;
    const bool is_wide = std::is_same_v<Storage, float> || settings.moments == job::StateType::fp32;
    groups.insert(groups.end(), 2, is_wide ? Dtype::float32 : Dtype::bfloat16);
    if (!std::is_same_v<Storage, float> && settings.master != job::Master::none)
      groups.push_back(Dtype::float32);
  }
  std::vector<std::vector<Dtype>> dtypes;
  dtypes.reserve(groups.size());
  for (const Dtype dtype : groups) dtypes.emplace_back(table.size(), dtype);
  return checkpoint::file_bytes(contents({}), table, dtypes);
}

#define MOEBIUS_INSTANTIATE(P) template class RunFiles<P>;
MOEBIUS_EACH_PLATFORM(MOEBIUS_INSTANTIATE)
#undef MOEBIUS_INSTANTIATE

}  // namespace moebius::training
