#include "training/step.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>

#include "parallel/host_sum.h"

namespace moebius::training {
namespace {

using cluster::Axis;
using cluster::Phase;

/// Micro batches that are evaluated before their losses are read: a pipeline of stages is full most of the
/// time.
constexpr std::int64_t kEvaluatedAtOnce = 32;

optimizer::Decline decline_of(job::Schedule schedule) {
  switch (schedule) {
    case job::Schedule::cosine: return optimizer::Decline::cosine;
    case job::Schedule::linear: return optimizer::Decline::linear;
    case job::Schedule::constant: return optimizer::Decline::constant;
  }
  throw std::logic_error("a schedule without a decline");
}

/// Busiest expert / mean, averaged over the layers: 1 is perfect balance.
double imbalance(const std::vector<std::vector<double>>& expert_tokens) {
  double sum = 0;
  for (const std::vector<double>& layer : expert_tokens) {
    const double total = std::accumulate(layer.begin(), layer.end(), 0.0);
    const double mean = total / double(layer.size());
    sum += mean == 0 ? 1 : *std::max_element(layer.begin(), layer.end()) / mean;
  }
  return sum / double(expert_tokens.size());
}

template <Space S>
plan::AxisBytes carried(const parallel::Exchange<S>& exchange) {
  plan::AxisBytes bytes;
  for (std::size_t axis = 0; axis < bytes.size(); ++axis) bytes[axis] = exchange.traffic(Axis(axis)).bytes;
  return bytes;
}

}  // namespace

template <Platform P>
struct Step<P>::Sums {
  std::vector<double> loss;  // the objective's totals
  double aux = 0, z = 0;
  std::vector<std::vector<double>> expert_tokens;  // [MoE layers of the model][experts]

  void add(const models::RouterTotals& routers) {
    aux += routers.aux;
    z += routers.z;
    expert_tokens.resize(routers.expert_tokens.size());
    for (std::size_t layer = 0; layer < expert_tokens.size(); ++layer) {
      const auto& more = routers.expert_tokens[layer];
      expert_tokens[layer].resize(more.size());
      for (std::size_t e = 0; e < more.size(); ++e) expert_tokens[layer][e] += more[e];
    }
  }
};

template <Platform P>
Step<P>::Step(const job::Job& job, ModelState<P>& state, objectives::Objective<P>& objective,
              cluster::Cluster& cluster)
    : job_(job),
      state_(state),
      cluster_(cluster),
      objective_(objective),
      passes_(state.decoder,
              {.slots = state.activations, .pending = state.pending, .messages = state.messages}),
      schedule_{.peak = job.optimizer.lr,
                .lowest = job.optimizer.min_lr,
                .decline = decline_of(job.optimizer.schedule),
                .warmup_fraction = job.optimizer.warmup_fraction,
                .iterations = 0} {}

template <Platform P>
Metrics Step<P>::train(data::Batches& batches, std::int64_t position, std::int64_t iteration) {
  const Stopwatch watch;
  const plan::AxisBytes before = carried(*state_.exchange);
  state_.clock.begin(state_.queue);
  const std::vector<data::MicroBatch> micro_batches = own_micro_batches(batches, position);
  Counts own;
  for (const data::MicroBatch& batch : micro_batches) own.add(batch);
  const Counts counts = over_data_ranks(own);
  const double all_micro_batches = double(batches.micro_batches());
  const double lr = optimizer::learning_rate(schedule_, iteration);
  const std::vector<objectives::QueuedResult> queued = forward_and_backward(
      micro_batches, counts.batch,
      {.aux = job_.moe.aux_loss_coeff / all_micro_batches, .z = job_.moe.z_loss_coeff / all_micro_batches});
  const auto queued_update = [&] {
    const Phase phase(cluster_.watchdog(), "optimizer");
    return state_.adam.step({.iteration = iteration, .lr = lr}, state_.weights, state_.gradients,
                            state_.staging, state_.queue);
  }();
  state_.clock.end(state_.queue);
  finish();
  const Sums sums = sums_over_ranks(queued);
  const optimizer::StepResult update = queued_update.result();
  state_.staging.release({});
  const plan::AxisBytes after = carried(*state_.exchange);
  for (std::size_t axis = 0; axis < after.size(); ++axis) sent_[axis] += after[axis] - before[axis];

  Metrics metrics{iteration + 1, {}};
  const auto numbers = objective_.numbers(sums.loss, counts.batch);
  expect_finite(numbers.front().second, update, iteration);
  metrics.add("loss", numbers.front().second);
  metrics.add("grad_norm", update.gradient_norm);
  metrics.add("lr", lr);
  metrics.add("tokens", double(counts.batch.trained));
  const double seconds = watch.seconds();
  metrics.add("tokens_per_second", double(counts.tokens) / seconds);
  metrics.add("seconds", seconds);
  for (auto number = numbers.begin() + 1; number != numbers.end(); ++number)
    metrics.add(number->first, number->second);
  if (!sums.expert_tokens.empty()) {
    metrics.add("aux_loss", sums.aux / all_micro_batches);
    metrics.add("z_loss", sums.z / all_micro_batches);
    metrics.add("load_imbalance", imbalance(sums.expert_tokens));
  }
  note_times(seconds, counts, all_micro_batches);
  times_.parts.each([&](const std::string& name, double spent) { metrics.add("seconds_" + name, spent); });
  metrics.add("peak_memory_bytes", double(peak_bytes(state_)));
  return metrics;
}

template <Platform P>
std::vector<objectives::QueuedResult> Step<P>::forward_and_backward(
    objectives::Batches micro_batches, const objectives::BatchCounts& counts,
    const layers::AuxCoefficients& coefficients) {
  const Phase phase(cluster_.watchdog(), "reference");
  objective_.begin(micro_batches, counts);
  cluster_.watchdog().enter_phase("forward");
  return passes_.train(
      {.schedule = state_.schedule,
       .batches = micro_batches,
       .objective = objective_,
       .coefficients = coefficients,
       .gradients = state_.gradients,
       .done =
           [&](std::string_view names) { state_.adam.gradients_done(names, state_.gradients, state_.queue); },
       .enter = [&](std::string_view begun) { cluster_.watchdog().enter_phase(begun); }});
}

template <Platform P>
void Step<P>::expect_finite(double loss, const optimizer::StepResult& update, std::int64_t iteration) {
  if (update.is_finite() && std::isfinite(loss)) return;
  state_.adam.wait_for_all_weights(state_.queue);
  throw cluster::AgreedError(
      ExitCode::diverged,
      fmt::format(
          "iteration {}: loss {}, gradient norm {}: training has diverged. The last checkpoint is the "
          "newest good state; lower optimizer.lr or look at the data of this batch",
          iteration + 1, loss, update.gradient_norm));
}

/// What the clock of the queue did not see is the host's.
template <Platform P>
void Step<P>::note_times(double seconds, const Counts& counts, double micro_batches) {
  times_ = {.parts = state_.clock.times(),
            .seconds = seconds,
            .load = {.tokens = double(counts.tokens),
                     .targets = double(counts.batch.trained),
                     .squares = counts.squares,
                     .micro_batches = micro_batches}};
  times_.parts.at(Part::host, Pass::update) = seconds - times_.parts.total();
}

template <Platform P>
double Step<P>::evaluate(const data::Batches& batches) {
  const Phase phase(cluster_.watchdog(), "eval");
  const std::int64_t replicas = state_.exchange->mesh().degree(Axis::data);
  const std::int64_t own = state_.exchange->mesh().index(Axis::data);
  std::vector<double> totals = objective_.totals({});
  Counts counts;
  std::vector<data::MicroBatch> own_batches;
  for (std::int64_t first = 0; first < batches.pass_length(); first += replicas) {
    own_batches.push_back(batches.pass(first + own));
    const bool is_last = first + replicas >= batches.pass_length();
    if (std::int64_t(own_batches.size()) < kEvaluatedAtOnce && !is_last) continue;
    objective_.begin(own_batches, {});
    const auto results = passes_.evaluate(own_batches);
    finish();
    const std::vector<double> more = totals_over_context(results);
    for (std::size_t i = 0; i < totals.size(); ++i) totals[i] += more[i];
    for (const data::MicroBatch& batch : own_batches) counts.add(batch);
    state_.staging.release({});
    own_batches.clear();
  }
  for (const Axis axis : {Axis::pipeline, Axis::data})
    parallel::sum_on_host(*state_.exchange, {axis, "eval loss"}, totals);
  return objective_.numbers(totals, over_data_ranks(counts).batch).front().second;
}

/// Waits for everything that was queued.
template <Platform P>
void Step<P>::finish() {
  state_.exchange->wait({Axis::world, "end of the step"}, state_.queue);
}

template <Platform P>
std::vector<data::MicroBatch> Step<P>::own_micro_batches(data::Batches& batches, std::int64_t position) {
  const Phase phase(cluster_.watchdog(), "data");
  const cluster::Mesh& mesh = state_.exchange->mesh();
  std::vector<data::MicroBatch> own;
  for (std::int64_t i = mesh.index(Axis::data); i < batches.micro_batches(); i += mesh.degree(Axis::data)) {
    own.push_back(batches.micro_batch(position, i));
    own.back().number = position + i * job_.train.micro_batch_size;
  }
  return own;
}

template <Platform P>
void Step<P>::Counts::add(const data::MicroBatch& more) {
  batch.trained += more.trained();
  batch.pairs += more.pairs;
  batch.trained_chosen += more.trained_chosen();
  tokens += more.tokens();
  for (std::size_t i = 1; i < more.starts.size(); ++i)
    squares += std::pow(double(more.starts[i] - more.starts[i - 1]), 2);
}

template <Platform P>
typename Step<P>::Counts Step<P>::over_data_ranks(const Counts& own) {
  // Whole numbers below 2^53: exact.
  std::array<double, 5> counts{double(own.batch.trained), double(own.batch.pairs),
                               double(own.batch.trained_chosen), double(own.tokens), own.squares};
  parallel::sum_on_host(*state_.exchange, {Axis::data, "token counts"}, counts);
  return {.batch = {.trained = std::int64_t(counts[0]),
                    .pairs = std::int64_t(counts[1]),
                    .trained_chosen = std::int64_t(counts[2])},
          .tokens = std::int64_t(counts[3]),
          .squares = counts[4]};
}

/// Context ranks know the rest of their micro batches.
template <Platform P>
std::vector<double> Step<P>::totals_over_context(std::span<const objectives::QueuedResult> results) {
  std::vector<double> measured;
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (results[i].predictions) objective_.measure(std::int64_t(i), *results[i].predictions, measured);
  }
  if (!measured.empty()) parallel::sum_on_host(*state_.exchange, {Axis::context, "loss"}, measured);
  return objective_.totals(measured);
}

template <Platform P>
typename Step<P>::Sums Step<P>::sums_over_ranks(std::span<const objectives::QueuedResult> results) {
  Sums sums;
  sums.loss = totals_over_context(results);
  for (const objectives::QueuedResult& result : results) sums.add(passes_.routers(result));
  std::vector<double> values = sums.loss;
  values.insert(values.end(), {sums.aux, sums.z});
  for (const auto& layer : sums.expert_tokens) values.insert(values.end(), layer.begin(), layer.end());
  for (const Axis axis : {Axis::pipeline, Axis::data})
    parallel::sum_on_host(*state_.exchange, {axis, "loss and balance"}, values);
  auto next = values.begin();
  const auto take = [&](std::span<double> into) {
    std::copy_n(next, into.size(), into.begin());
    next += std::ptrdiff_t(into.size());
  };
  take(sums.loss);
  take({&sums.aux, 1});
  take({&sums.z, 1});
  for (auto& layer : sums.expert_tokens) take(layer);
  return sums;
}

#define INSTANTIATE(P) template class Step<P>;
MOEBIUS_EACH_PLATFORM(INSTANTIATE)

}  // namespace moebius::training
