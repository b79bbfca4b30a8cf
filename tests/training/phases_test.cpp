#include "models/models.h"
#include "objectives/objectives.h"
#include "tests/models/tiny_configs.h"
#include "tests/objectives/one_stage.h"
#include "tests/support/catch.h"
#include "training/model_state.h"

using namespace moebius;

namespace {

/// Where the time of one step goes.
PhaseTimes step_times(const models::ModelConfig& config, job::Recompute recompute) {
  job::Job job;
  job.data.max_length = 64;
  job.train.recompute = recompute;
  training::ModelState<HostFp32> state(job, config, parallel::make_local_exchange<Space::host>(), {});
  models::initialise(state.weights, 1, state.queue);
  test::OneStage sft(state.decoder);
  data::MicroBatch batch;
  const data::Sample sample{{3, 9, 4, 1, 7}, {-100, 9, -100, 1, 7}, {}};
  batch.append(sample.view());

  state.clock.begin(state.queue);
  (void)sft.train(batch, 3, state.gradients);
  (void)state.adam.step({.lr = 1e-3}, state.weights, state.gradients, state.staging, state.queue);
  state.clock.end(state.queue);
  return state.clock.times();
}

}  // namespace

TEST_CASE("every part of a step is timed as what it is", "[training][phases]") {
  const auto recompute = GENERATE(job::Recompute::none, job::Recompute::selective, job::Recompute::full);
  const bool has_experts = GENERATE(true, false);
  const PhaseTimes times = step_times(has_experts ? test::tiny_moe() : test::tiny_dense(), recompute);
  for (const Part part : {Part::embedding, Part::norms, Part::projections, Part::attention, Part::router,
                          Part::experts, Part::dense_mlp}) {
    CAPTURE(std::string(name_of(part)));
    const bool is_there = has_experts || (part != Part::router && part != Part::experts);
    CHECK((times.at(part, Pass::forward) > 0) == is_there);
    CHECK((times.at(part, Pass::backward) > 0) == is_there);
    CHECK(times.at(part, Pass::update) == 0);
  }
  CHECK(times.of(Part::head) > 0);
  CHECK(times.at(Part::optimizer, Pass::update) > 0);
  CHECK(times.of(Part::exchange) == 0);  // of one rank
}
