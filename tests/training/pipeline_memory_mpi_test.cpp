#include "cluster/cluster.h"
#include "objectives/objectives.h"
#include "parallel/exchange_mpi.h"
#include "parallel/pipeline/run.h"
#include "plan/plan.h"
#include "tests/models/tiny_configs.h"
#include "tests/support/catch.h"
#include "training/model_state.h"

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

data::MicroBatch full_pack() {
  std::vector<std::int32_t> ids;
  for (std::int64_t t = 0; t < kTokens; ++t) ids.push_back(std::int32_t(t % 40));
  data::MicroBatch batch;
  batch.append({.ids = ids, .labels = ids, .loss_scale = {}});
  return batch;
}

void check_memory(const models::ModelConfig& config, job::Job job, cluster::Cluster& cluster) {
  const cluster::Mesh mesh(cluster.size(), cluster.rank(), plan::degrees_of(job.parallel));
  job.train.global_batch_size = kMicroBatches * mesh.degree(Axis::data);
  INFO(config.family << " on " << mesh.text() << ", schedule " << int(job.parallel.schedule) << ", rank "
                     << cluster.rank());
  training::ModelState<HostFp32> state(job, config, parallel::make_mpi_exchange(cluster, mesh), {});
  models::initialise(state.weights, 1, state.queue);
  const plan::Machine machine{.memory = 1 << 30, .name = "the node"};
  const models::ModelMemory planned =
      plan::need_on(mesh, {job, config, cluster.size(), kTokens, machine}).memory;
  objectives::Sft<HostFp32> sft;
  objectives::Passes<HostFp32> passes(
      state.decoder, {.slots = state.activations, .pending = state.pending, .messages = state.messages});
  const std::vector<data::MicroBatch> batches(std::size_t(kMicroBatches), full_pack());
  sft.begin(batches, {.trained = kTokens});
  (void)passes.train({.schedule = state.schedule,
                      .batches = batches,
                      .objective = sft,
                      .coefficients = {},
                      .gradients = state.gradients});
  // The plan counts a target for each token, and for the largest chunk; one chunk may be a layer more than
  // another.
  const std::int64_t targets = 256 * planned.in_flight;  // bytes
  CHECK(state.activations.peak_bytes() <= planned.in_flight * planned.slot());
  if (job.parallel.virtual_pipeline == 1)
    CHECK(state.activations.peak_bytes() >= planned.in_flight * planned.slot() - targets);
  else
    CHECK(double(state.activations.peak_bytes()) >= 0.8 * double(planned.in_flight * planned.slot()));
  CHECK(state.pending.peak_bytes() == planned.pending * planned.pending_slot);
  CHECK(state.messages.peak_bytes() == planned.messages);
  CHECK(state.remade.peak_bytes() == planned.remade);
  CHECK(state.workspace.peak_bytes() <= planned.workspace);
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
      }
    }
  }
}
