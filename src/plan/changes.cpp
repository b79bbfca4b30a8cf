#include "plan/changes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <map>

#include "base/text.h"
#include "job/validate.h"
#include "job/write.h"
#include "models/models.h"

namespace moebius::plan {
namespace {

/// One setting, changed.
struct Change {
  std::string key;
  job::Value value;
  double cost;        // share of the time of a step that it takes more; rounding counts as a percent or two
  std::string price;  // the same in words
};
using Changes = std::vector<Change>;

// Estimates. Selective makes the experts' first product again, a third of their forward's two; full all of
// forward. Halves of a micro batch read all weights twice; an exchange grows with its ranks.
constexpr double kSelective = 0.1, kFull = 0.33, kHalf = 0.05, kExpertDoubled = 0.08, kContextDoubled = 0.1,
                 kTensorDoubled = 0.2, kMessages = 0.01;
constexpr std::int64_t kMoreChunks = 4;  // are tried at least

job::Job changed(job::Job job, const Changes& changes) {
  for (const Change& change : changes) job::find_key(change.key)->set(job, change.value);
  return job;
}

/// Ranks that hold other weights or other tokens of the same sample.
std::int64_t dense_ranks(const job::Parallel& parallel) {
  return parallel.tensor * parallel.context * parallel.pipeline;
}

/// Of a data rank in a step, where there are whole ones.
std::int64_t micro_batches_of(const job::Job& job, std::int64_t ranks) {
  return job.train.global_batch_size / (job.train.micro_batch_size * (ranks / dense_ranks(job.parallel)));
}

/// Whether the model and the ranks allow the mesh of a changed job.
bool has_mesh(const job::Job& job, const Question& question) {
  const job::Parallel& parallel = job.parallel;
  if (!models::check_mesh(question.config, degrees_of(parallel)).empty()) return false;
  const std::int64_t dense = dense_ranks(parallel);
  const std::int64_t sparse = parallel.expert * parallel.expert_tensor * parallel.pipeline;
  if (question.ranks % dense != 0 || question.ranks % sparse != 0) return false;
  if (job.train.global_batch_size % (job.train.micro_batch_size * (question.ranks / dense)) != 0)
    return false;
  if (parallel.virtual_pipeline == 1) return true;
  return parallel.pipeline * parallel.virtual_pipeline <= question.config.layers &&
         micro_batches_of(job, question.ranks) % parallel.pipeline == 0;
}

/// Whether the settings of a changed job go together as well as those of the job did.
bool is_valid(const job::Job& job, const Question& question) {
  return job::validate(job, job::Purpose::plan).size() <=
         job::validate(question.job, job::Purpose::plan).size();
}

Changes of_optimizer(const Question& question) {
  if (question.machine.precision != Precision::bf16) return {};
  const job::Optimizer& optimizer = question.job.optimizer;
  Changes changes;
  if (optimizer.master == job::Master::fp32)
    changes.push_back({"optimizer.master", std::string("remainder16"), 0, "nothing: the same fp32 weights"});
  if (optimizer.moments == job::StateType::fp32)
    changes.push_back({"optimizer.moments", std::string("bf16"), 0.01, "no time: moments are rounded"});
  if (optimizer.gradients == job::StateType::fp32)
    changes.push_back({"optimizer.gradients", std::string("bf16"), 0.02, "no time: gradients are rounded"});
  return changes;
}

Changes of_reference(const Question& question) {
  if (!keeps_reference(question.job)) return {};
  return {{"objective.reference_cache", true, 0, "no time in a step: the reference scores all pairs before"}};
}

Changes of_recompute(const Question& question) {
  const std::string key = "train.recompute";
  const job::Recompute now = question.job.train.recompute;
  Changes changes;
  if (now == job::Recompute::none)
    changes.push_back({key, std::string("selective"), kSelective, "about a tenth of the time"});
  if (now != job::Recompute::full)
    changes.push_back({key, std::string("full"), kFull, "about a third of the time"});
  return changes;
}

Changes of_micro_batch(const Question& question) {
  const std::int64_t size = question.job.train.micro_batch_size;
  Changes changes;
  for (std::int64_t smaller = size / 2; smaller >= 1; --smaller) {
    if (size % smaller != 0) continue;
    changes.push_back({"train.micro_batch_size", smaller, kHalf * std::log2(double(size) / double(smaller)),
                       "some time: smaller products"});
  }
  return changes;
}

struct Degree {
  std::string key;
  std::int64_t now;
  double cost_doubled;
  std::string price;
};
Changes of_degree(const Degree& degree, const Question& question) {
  Changes changes;
  for (std::int64_t more = degree.now + 1; more <= question.ranks; ++more) {
    const double doublings = std::log2(double(more) / double(degree.now));
    const Change change{degree.key, more, degree.cost_doubled * doublings, degree.price};
    if (has_mesh(changed(question.job, {change}), question)) changes.push_back(change);
  }
  return changes;
}

/// What stages wait for each other in a step, beside what they compute.
double waiting(const job::Job& job, std::int64_t ranks) {
  const job::Parallel& parallel = job.parallel;
  return double(parallel.pipeline - 1) / double(micro_batches_of(job, ranks) * parallel.virtual_pipeline);
}

/// A change of the pipeline, where there can be such a mesh.
std::optional<Change> of_pipeline(const std::string& key, std::int64_t value, const Question& question) {
  Change change{key, value, 0, "time that stages wait for each other"};
  const job::Job with = changed(question.job, {change});
  if (!has_mesh(with, question)) return {};
  change.cost =
      kMessages + std::max(0.0, waiting(with, question.ranks) - waiting(question.job, question.ranks));
  return change;
}

Changes of_stages(const Question& question) {
  Changes changes;
  for (std::int64_t more = question.job.parallel.pipeline + 1; more <= question.ranks; ++more) {
    if (const auto change = of_pipeline("parallel.pipeline", more, question)) changes.push_back(*change);
  }
  return changes;
}

/// Fewer chunks: fewer layers in flight. More: layers lie more evenly.
Changes of_chunks(const Question& question) {
  const std::int64_t now = question.job.parallel.virtual_pipeline;
  Changes changes;
  for (std::int64_t chunks = 1; chunks <= std::max<std::int64_t>(2 * now, kMoreChunks); ++chunks) {
    const auto change = of_pipeline("parallel.virtual_pipeline", chunks, question);
    if (chunks != now && change) changes.push_back(*change);
  }
  return changes;
}

/// Everything that may be changed: the values of one setting in each list.
std::vector<Changes> possible_changes(const Question& question) {
  std::vector<Changes> all{of_reference(question)};
  for (const Change& change : of_optimizer(question)) all.push_back({change});
  const job::Parallel& parallel = question.job.parallel;
  all.push_back(of_micro_batch(question));
  all.push_back(of_recompute(question));
  all.push_back(of_degree(
      {"parallel.expert", parallel.expert, kExpertDoubled, "time for exchange around experts"}, question));
  all.push_back(
      of_degree({"parallel.context", parallel.context, kContextDoubled, "time for exchange around attention"},
                question));
  all.push_back(of_degree(
      {"parallel.tensor", parallel.tensor, kTensorDoubled, "time for exchange in every layer"}, question));
  all.push_back(of_stages(question));
  all.push_back(of_chunks(question));
  for (Changes& values : all)
    std::erase_if(values,
                  [&](const Change& change) { return !is_valid(changed(question.job, {change}), question); });
  return all;
}

double cost_of(const Changes& changes) {
  double cost = 0;
  for (const Change& change : changes) cost += change.cost;
  return cost;
}

/// Judges changes and combinations of them.
class Adviser {
 public:
  explicit Adviser(const Question& question) : question_(question), all_(possible_changes(question)) {}

  [[nodiscard]] Advice advice() const {
    Advice advice{.single = singles(), .cheapest = {}};
    const auto fitting = std::ranges::find_if(advice.single, &Proposal::fits);
    advice.cheapest = fitting != advice.single.end() ? *fitting : several();
    return advice;
  }

 private:
  [[nodiscard]] Question with(const job::Job& job) const {
    return {job, question_.config, question_.ranks, question_.pack_tokens, question_.machine};
  }
  [[nodiscard]] Proposal judge(const Changes& changes) const {
    const job::Job job = changed(question_.job, changes);
    Proposal proposal{.settings = {},
                      .price = std::ranges::max_element(changes, {}, &Change::cost)->price,
                      .need = rank_kinds(with(job)).front().need};
    for (const Change& change : changes) proposal.settings.push_back(job::setting_text(job, change.key));
    proposal.fits = fits(proposal.need, question_.machine);
    return proposal;
  }
  [[nodiscard]] std::vector<Proposal> singles() const;
  [[nodiscard]] std::vector<Changes> combinations() const;
  [[nodiscard]] bool fits_at_least(job::Job job) const;
  [[nodiscard]] std::optional<Proposal> several() const;

  const Question& question_;
  std::vector<Changes> all_;
};

/// Of numbers the first that fits, or else the one that needs least; every word.
std::vector<Proposal> Adviser::singles() const {
  const std::int64_t now = rank_kinds(question_).front().need.total();
  std::vector<std::pair<double, Proposal>> priced;
  for (const Changes& values : all_) {
    const std::size_t others = priced.size();
    for (const Change& change : values) {
      const bool is_number = std::holds_alternative<std::int64_t>(change.value);
      const bool has_other = is_number && priced.size() > others;
      if (has_other && priced.back().second.fits) break;
      Proposal proposal = judge({change});
      const std::int64_t least = has_other ? priced.back().second.need.total() : now;
      if (proposal.need.total() >= least) continue;
      if (has_other) priced.pop_back();
      priced.emplace_back(change.cost, std::move(proposal));
    }
  }
  std::ranges::stable_sort(priced, {}, [](const auto& entry) { return entry.first; });
  std::vector<Proposal> proposals;
  proposals.reserve(priced.size());
  for (auto& [cost, proposal] : priced) proposals.push_back(std::move(proposal));
  return proposals;
}

/// Every choice of two settings and more, a value of each.
std::vector<Changes> Adviser::combinations() const {
  std::vector<Changes> chosen{{}};
  for (const Changes& values : all_) {
    const std::size_t without = chosen.size();
    for (std::size_t i = 0; i < without; ++i) {
      for (const Change& change : values) {
        chosen.push_back(chosen[i]);
        chosen.back().push_back(change);
        if (dense_ranks(changed(question_.job, chosen.back()).parallel) > question_.ranks) chosen.pop_back();
      }
    }
  }
  std::erase_if(chosen, [](const Changes& changes) { return changes.size() < 2; });
  return chosen;
}

/// Whether the mesh of `job` would do with the last value of everything else.
bool Adviser::fits_at_least(job::Job job) const {
  for (const Changes& values : all_) {
    if (!values.empty() && !values.back().key.starts_with("parallel.")) job = changed(job, {values.back()});
  }
  return fits(need_on(mesh_of(job, question_.ranks, 0), with(job)), question_.machine);
}

/// The combination that costs least of those that fit; of equal ones that of fewer changes.
std::optional<Proposal> Adviser::several() const {
  std::vector<Changes> all = combinations();
  std::ranges::stable_sort(
      all, {}, [](const Changes& changes) { return std::pair(cost_of(changes), changes.size()); });
  std::map<std::array<std::int64_t, 6>, bool> meshes;  // most combinations are of few meshes
  for (const Changes& changes : all) {
    const job::Job job = changed(question_.job, changes);
    if (!has_mesh(job, question_)) continue;
    const job::Parallel& degrees = job.parallel;
    const auto [mesh, is_new] =
        meshes.try_emplace({degrees.tensor, degrees.context, degrees.pipeline, degrees.virtual_pipeline,
                            degrees.expert, degrees.expert_tensor},
                           false);
    if (is_new) mesh->second = fits_at_least(job);
    if (!mesh->second) continue;
    const Question question = with(job);
    if (!fits(need_on(mesh_of(job, question_.ranks, 0), question), question_.machine)) continue;
    Proposal proposal = judge(changes);
    if (proposal.fits && is_valid(job, question_)) return proposal;
  }
  return {};
}

}  // namespace

Advice advise(const Question& question) {
  return Adviser(question).advice();
}

std::string cure_text(const Advice& advice) {
  if (advice.cheapest) {
    return fmt::format("use {} ({} each)", join(advice.cheapest->settings),
                       bytes_text(advice.cheapest->need.total()));
  }
  return "no change of the job alone is enough: start more ranks with a larger parallel.expert or "
         "parallel.tensor, or lower data.max_length";
}

}  // namespace moebius::plan
