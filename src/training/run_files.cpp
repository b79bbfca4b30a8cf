#include "training/run_files.h"

#include "base/stopwatch.h"
#include "job/write.h"

namespace moebius::training {

using checkpoint::Contents;
using checkpoint::kExpAvg;
using checkpoint::kExpAvgSq;
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
  bool has_moments = false;
  const auto loaded = find([&](const Reader& reader) {
    state.adam.moments().clear();  // an attempt on a damaged file may have filled them
    checkpoint::read_shards(reader, kParameters, state.weights);
    has_moments = reader.has_group(kExpAvg);
    if (!has_moments) return;
    checkpoint::read_shards(reader, kExpAvg, state.adam.moments().exp_avg);
    checkpoint::read_shards(reader, kExpAvgSq, state.adam.moments().exp_avg_sq);
  });
  if (loaded) {
    log_.info("resuming from {}: iteration {} ({:.1f} s)", loaded->file.string(), loaded->contents.iteration,
              watch.seconds());
    if (!has_moments) log_.warning("the checkpoint holds no moments of the optimizer: they start from zero");
    return {loaded->contents.iteration, loaded->contents.samples};
  }
  cluster_.together("load the weights", [&] { start_.load_weights(state.weights); });
  log_.info("starting from the weights of {} ({:.1f} s)",
            start_.job.model.path.empty() ? "a random start" : start_.job.model.path, watch.seconds());
  return {};
}

template <Platform P>
Contents RunFiles<P>::contents(Place place) const {
  return {.iteration = place.iteration,
          .samples = place.packs,
          .seed = start_.job.general.seed,
          .job = job::write_job(start_.job),
          .model_files = start_.files};
}

template <Platform P>
void RunFiles<P>::save(ModelState<P>& state, Place place) {
  const cluster::Phase phase(cluster_.watchdog(), "save");
  const Stopwatch watch;
  const Contents saved = contents(place);
  checkpoint::WriteRequest request{
      .contents = saved, .table = state.table, .slabs = checkpoint::owned_slabs(state.layout), .groups = {}};
  request.groups.push_back(checkpoint::group_of(kParameters, state.weights));
  if (start_.job.checkpoint.optimizer) {
    request.groups.push_back(checkpoint::group_of(kExpAvg, state.adam.moments().exp_avg));
    request.groups.push_back(checkpoint::group_of(kExpAvgSq, state.adam.moments().exp_avg_sq));
  }
  const auto file = folder_.save(request, start_.job.checkpoint.keep);
  log_.info("saved {} ({:.2f} s)", file.string(), watch.seconds());
}

template <Platform P>
std::int64_t RunFiles<P>::checkpoint_bytes(const models::ParameterTable& table) const {
  const std::size_t groups = start_.job.checkpoint.optimizer ? 3 : 1;
  const std::vector<std::vector<Dtype>> dtypes(groups, std::vector<Dtype>(table.size(), Dtype::float32));
  return checkpoint::file_bytes(contents({}), table, dtypes);
}

template class RunFiles<HostFp32>;

}  // namespace moebius::training
