#include "training/objective.h"

#include "base/stopwatch.h"
#include "training/reference_cache.h"
#include "training/reference_model.h"
#include "training/run_files.h"

namespace moebius::training {
namespace {

kernels::Preference preference_of(job::PreferenceLoss loss) {
  switch (loss) {
    case job::PreferenceLoss::sigmoid: return kernels::Preference::sigmoid;
    case job::PreferenceLoss::hinge: return kernels::Preference::hinge;
    case job::PreferenceLoss::ipo: return kernels::Preference::ipo;
  }
  throw std::logic_error("a preference loss of no kind");
}

/// The model that answers are compared with: the one that training starts from, also when it goes on from
/// a checkpoint, or another.
template <Platform P>
objectives::Reference load_reference(const Start& start, const Datasets& datasets, ModelState<P>& state,
                                     cluster::Cluster& cluster, const Log& log) {
  if (start.job.objective.reference_cache) {
    const auto store = cached_reference<P>(start, datasets, state, cluster, log);
    return [store, &mesh = state.exchange->mesh()](objectives::Batches batches) {
      return log_probabilities_in<P::kSpace>(*store, batches, mesh);
    };
  }
  if (state.reference) {
    const Stopwatch watch;
    cluster.together("load the reference", [&] {
      fill_frozen(start.read_reference, start.job.general.seed, state.reference->weights, state.queue);
    });
    log.info("loaded the reference ({:.1f} s)", watch.seconds());
  }
  const auto& weights = state.reference ? state.reference->weights : state.frozen->weights;
  const auto model = std::make_shared<ReferenceModel<P>>(start.job, start.config, weights, state);
  return [model](objectives::Batches batches) { return model->log_probabilities(batches); };
}

}  // namespace

template <Platform P>
OwnObjective<P> make_objective(const Start& start, const Datasets& datasets, ModelState<P>& state,
                               cluster::Cluster& cluster, const Log& log) {
  const job::Objective& objective = start.job.objective;
  if (objective.kind != job::ObjectiveKind::dpo) return std::make_unique<objectives::Sft<P>>();
  const typename objectives::Dpo<P>::Settings settings{.loss = {.kind = preference_of(objective.loss),
                                                                .beta = objective.beta,
                                                                .label_smoothing = objective.label_smoothing},
                                                       .rpo_alpha = objective.rpo_alpha};
  return std::make_unique<objectives::Dpo<P>>(settings,
                                              load_reference<P>(start, datasets, state, cluster, log));
}

#define INSTANTIATE(P)                                                                         \
  template OwnObjective<P> make_objective(const Start&, const Datasets&, ModelState<P>& state, \
                                          cluster::Cluster&, const Log&);
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::training
