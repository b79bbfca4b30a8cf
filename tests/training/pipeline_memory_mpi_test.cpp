#include "cluster/cluster.h"
#include "objectives/objectives.h"
#include "parallel/exchange_mpi.h"
#include "parallel/pipeline/run.h"
#include "plan/plan.h"
#include "tests/models/tiny_configs.h"
#include "tests/support/catch.h"
#include "training/reference_model.h"

// What a step takes on each stage is what the plan says, for every schedule.

using namespace moebius;
using cluster::Axis;

namespace {

constexpr std::int64_t kTokens = 64, kMicroBatches = 8;

models::ModelConfig deep(models::ModelConfig config) {
  config.layers = 8;
  const bool has_experts = config.experts > 0;
  config.is_moe_layer.assign(8, has_experts);
  if (has_experts) config.is_moe_layer[3] = config.is_moe_layer[4] = false;
  return config;
}

job::Job job_of(const cluster::Degrees& degrees, std::int64_t chunks, job::PipelineSchedule schedule) {
  job::Job job;
  job.data.max_length = kTokens;
  job.moe.routing = job::Routing::even;
  job.parallel = {.tensor = degrees.tensor, .pipeline = degrees.pipeline, .virtual_pipeline = chunks};
  job.parallel.schedule = schedule;
  return job;
}

bool is_dpo(const job::Job& job) {
  return job.objective.kind == job::ObjectiveKind::dpo;
}

/// A sample, or a pair with two sides of equal length.
data::MicroBatch full_pack(const job::Job& job) {
  std::vector<std::int32_t> ids;
  for (std::int64_t t = 0; t < kTokens; ++t) ids.push_back(std::int32_t(t % 40));
  data::MicroBatch batch;
  batch.append(
      {.ids = ids, .labels = ids, .loss_scale = {}, .rejected_begin = is_dpo(job) ? kTokens / 2 : 0});
  return batch;
}

using State = training::ModelState<HostFp32>;

std::unique_ptr<objectives::Objective<HostFp32>> objective_of(const job::Job& job,
                                                              const models::ModelConfig& config,
                                                              State& state) {
  if (!is_dpo(job)) return std::make_unique<objectives::Sft<HostFp32>>();
  models::initialise(state.reference->weights, 1, state.queue);
  const auto model =
      std::make_shared<training::ReferenceModel<HostFp32>>(job, config, state.reference->weights, state);
  return std::make_unique<objectives::Dpo<HostFp32>>(
      objectives::Dpo<HostFp32>::Settings{},
      [model](objectives::Batches batches) { return model->log_probabilities(batches); });
}

void check_memory(const models::ModelConfig& config, job::Job job, cluster::Cluster& cluster) {
  const cluster::Mesh mesh(cluster.size(), cluster.rank(), plan::degrees_of(job.parallel));
  job.train.global_batch_size = kMicroBatches * mesh.degree(Axis::data);
  INFO(config.family << " on " << mesh.text() << ", schedule " << int(job.parallel.schedule) << ", rank "
                     << cluster.rank());
  State state(job, config, parallel::make_mpi_exchange(cluster, mesh), {});
  models::initialise(state.weights, 1, state.queue);
  if (state.frozen) models::initialise(state.frozen->weights, 1, state.queue);
  const plan::Machine machine{.memory = 1 << 30, .name = "the node"};
  const plan::Need need = plan::need_on(mesh, {job, config, cluster.size(), kTokens, machine});
  const models::ModelMemory& planned = need.memory;
  const auto objective = objective_of(job, config, state);
  objectives::Passes<HostFp32> passes(
      state.decoder, {.slots = state.activations, .pending = state.pending, .messages = state.messages});
  const std::vector<data::MicroBatch> batches(std::size_t(kMicroBatches), full_pack(job));
  objective->begin(batches, {.trained = kTokens, .pairs = 1, .trained_chosen = kTokens / 2});
  (void)passes.train({.schedule = state.schedule,
                      .batches = batches,
                      .objective = *objective,
                      .coefficients = {},
                      .gradients = state.gradients});
  // The plan counts a target for each token, on every stage what the last one keeps of them, and the largest
  // chunk; one chunk may be a layer more than another.
  const std::int64_t targets = (is_dpo(job) ? 1024 : 256) * planned.in_flight;  // bytes
  CHECK(state.activations.peak_bytes() <= planned.in_flight * planned.slot());
  if (job.parallel.virtual_pipeline == 1)
    CHECK(state.activations.peak_bytes() >= planned.in_flight * planned.slot() - targets);
  else
    CHECK(double(state.activations.peak_bytes()) >= 0.8 * double(planned.in_flight * planned.slot()));
  CHECK(state.pending.peak_bytes() == planned.pending * planned.pending_slot);
  CHECK(state.messages.peak_bytes() == planned.messages);
  CHECK(state.remade.peak_bytes() == planned.remade);
  CHECK(state.workspace.peak_bytes() <= planned.workspace);
  CHECK(state.reference_memory.peak_bytes() == (is_dpo(job) ? need.reference - planned.tables : 0));
}

}  // namespace

TEST_CASE("every stage of every schedule takes what the plan says", "[training][pipeline][mpi]") {
  using job::PipelineSchedule;
  cluster::Cluster cluster{cluster::Environment()};
  for (const models::ModelConfig& config : {deep(test::tiny_moe()), deep(test::tiny_dense())}) {
    for (const std::int64_t tensor : {1, 2}) {
      for (std::int64_t pipeline = 1; pipeline * tensor <= cluster.size(); pipeline *= 2) {
        const cluster::Degrees degrees{.tensor = tensor, .pipeline = pipeline};
        check_memory(config, job_of(degrees, 1, PipelineSchedule::one_f_one_b), cluster);
        check_memory(config, job_of(degrees, 1, PipelineSchedule::zero_bubble), cluster);
        if (pipeline > 1 && pipeline <= 4)
          check_memory(config, job_of(degrees, 2, PipelineSchedule::interleaved), cluster);
        job::Job full = job_of(degrees, 1, PipelineSchedule::one_f_one_b);
        full.train.recompute = job::Recompute::full;
        check_memory(config, full, cluster);
        full.train.recompute = job::Recompute::selective;
        check_memory(config, full, cluster);
        for (const auto schedule : {PipelineSchedule::one_f_one_b, PipelineSchedule::zero_bubble}) {
          job::Job pairs = job_of(degrees, 1, schedule);
          pairs.objective.kind = job::ObjectiveKind::dpo;
          check_memory(config, pairs, cluster);
          job::Job adapter = job_of(degrees, 1, schedule);
          adapter.lora.emplace();  // with dropout
          check_memory(config, adapter, cluster);
        }
      }
    }
  }
}
