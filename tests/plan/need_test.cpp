#include <numeric>

#include "tests/models/tiny_configs.h"
#include "tests/plan/slice.h"
#include "tests/support/catch.h"

using namespace moebius;

TEST_CASE("a job's words become the format that memory is counted in", "[plan]") {
  job::Job job;
  job.train.recompute = job::Recompute::full;
  job.train.recompute_layers = 3;
  models::MemoryFormat format = plan::format_of(job, test::gpu(80));
  CHECK(format.space == Space::device);
  CHECK(format.storage == 2);
  CHECK(format.gradient == 4);
  CHECK(format.moment == 4);
  CHECK(format.truth == models::Truth::master);
  CHECK(format.recompute == models::Recompute::full);
  CHECK(format.group_layers == 3);

  job.train.recompute = job::Recompute::selective;
  job.optimizer.master = job::Master::remainder16;
  job.optimizer.moments = job.optimizer.gradients = job::StateType::bf16;
  format = plan::format_of(job, test::gpu(80));
  CHECK(format.gradient == 2);
  CHECK(format.moment == 2);
  CHECK(format.truth == models::Truth::remainder);
  CHECK(format.recompute == models::Recompute::selective);

  format = plan::format_of(job::Job(), test::gpu(80, plan::Precision::fp32));
  CHECK(format.storage == 4);
  CHECK(format.truth == models::Truth::weights);
  CHECK(plan::format_of(job::Job(), test::node(80, 1)).space == Space::host);
}

TEST_CASE("the parts are the whole", "[plan]") {
  const job::Job job = test::slice_job();
  const models::ModelConfig config = test::slice_of_30b(8);
  for (const plan::Machine& machine : {test::gpu(80), test::node(80, 1)}) {
    const plan::Need need = plan::need_on({}, {job, config, 1, 4096, machine});
    const std::vector<plan::NeedPart> parts = plan::parts_of(need);
    const auto add = [](std::int64_t sum, const plan::NeedPart& part) { return sum + part.bytes; };
    CHECK(std::accumulate(parts.begin(), parts.end(), std::int64_t{0}, add) == need.total());
    CHECK((need.saving > 0) == (machine.space == Space::host));
  }
}

TEST_CASE("a reference takes its weights, unless what it says is cached or it is the base of an adapter",
          "[plan]") {
  job::Job job = test::slice_job();
  job.objective.kind = job::ObjectiveKind::dpo;
  const models::ModelConfig config = test::slice_of_30b(8);
  const plan::Machine machine = test::gpu(80);
  const auto reference = [&] { return plan::need_on({}, {job, config, 1, 4096, machine}).reference; };
  const std::int64_t weights = plan::need_on({}, {job, config, 1, 4096, machine}).memory.weights;
  CHECK(reference() > weights);
  CHECK(reference() < weights + (std::int64_t{8} << 20));  // rotary tables
  job.lora.emplace();
  CHECK(reference() < (std::int64_t{8} << 20));
  job.objective.reference = "another";
  CHECK(reference() > weights);
  job.objective.reference_cache = true;
  CHECK(reference() == 0);
}

TEST_CASE("the longest pack of pairs holds both sides", "[plan]") {
  job::Job job = test::slice_job();
  CHECK(plan::longest_pack(job) == 4096);
  job.data.packing = false;
  CHECK(plan::longest_pack(job) == 4096);
  job.objective.kind = job::ObjectiveKind::dpo;
  CHECK(plan::longest_pack(job) == 8192);
}

// What the slice took of an H100 that did nothing else, in MiB (nvidia-smi): tests/bench/gpu_slice.md.
TEST_CASE("the plan of the slice is what a GPU had in use, within 3 %", "[plan]") {
  constexpr double kMeasured = 70667.0 * (1 << 20);
  const job::Job job = test::small_slice_job();
  const models::ModelConfig config = test::slice_of_30b(8);
  const plan::Machine machine = test::gpu(80);
  const plan::Need need = plan::need_on({}, {job, config, 1, 4096, machine});
  CHECK(std::abs(double(need.total()) / kMeasured - 1) < 0.03);
  const std::int64_t parameters = plan::numbers_of(config).parameters;  // rows are aligned to 256 bytes
  CHECK(need.memory.weights >= 2 * parameters);
  CHECK(need.memory.weights < 2 * parameters + (1 << 20));
  CHECK(need.memory.moments == 2 * need.memory.weights);
  CHECK(need.memory.truth == need.memory.weights);
}

TEST_CASE("beside an adapter a model is there once, as it is stored", "[plan]") {
  job::Job job = test::slice_job();
  const models::ModelConfig config = test::slice_of_30b(8);
  const plan::Machine machine = test::gpu(80);
  const auto need = [&] {
    return plan::need_on(plan::mesh_of(job, 1, 0), {job, config, 1, 4096, machine}).memory;
  };
  const models::ModelMemory full = need();
  job.lora.emplace();
  const models::ModelMemory beside = need();
  CHECK(beside.weights == full.weights);
  const std::int64_t factors = plan::numbers_of(config, *plan::adapter_of(job)).parameters;
  CHECK(beside.factors >= 2 * factors);
  CHECK(beside.factors < 2 * factors + (1 << 20));
  CHECK(beside.gradients == 2 * beside.factors);  // fp32
  CHECK(beside.moments == 4 * beside.factors);
  CHECK(beside.truth == 2 * beside.factors);
  CHECK(beside.activations > full.activations);
  CHECK(beside.total() < 0.5 * double(full.total()));
}

TEST_CASE("more ranks share what a mesh splits", "[plan]") {
  const job::Job one = test::slice_job();
  const models::ModelConfig config = test::slice_of_30b(8);
  const plan::Machine machine = test::gpu(80);
  const auto weights = [&](std::int64_t tensor, std::int64_t expert) {
    job::Job job = one;
    job.train.global_batch_size = 32;
    job.parallel.tensor = tensor;
    job.parallel.expert = expert;
    return plan::rank_kinds({job, config, 8, 4096, machine}).front().need.memory.weights;
  };
  CHECK(weights(1, 8) < weights(1, 1) / 4);
  CHECK(weights(1, 8) < weights(4, 1));
  CHECK(weights(4, 8) < weights(1, 8));
}

TEST_CASE("ranks need the same even where the vocabulary does not divide", "[plan]") {
  job::Job job;
  job.data.max_length = 64;
  job.parallel.tensor = 4;
  const plan::Machine machine = test::node(80, 8);
  models::ModelConfig config = test::tiny_moe();
  config.vocab = 65;  // 16, 16, 16 and 17
  const std::vector<plan::RankKind> kinds = plan::rank_kinds({job, config, 8, 64, machine});
  REQUIRE(kinds.size() == 1);
  CHECK(kinds[0].first == 0);
  CHECK(kinds[0].count == 8);
}

TEST_CASE("ranks that share a parameter share what the optimizer keeps of it", "[plan]") {
  job::Job job = test::slice_job();
  job.train.global_batch_size = 16;
  const models::ModelConfig config = test::slice_of_30b(8);
  const plan::Machine machine = test::gpu(80);
  const auto on = [&](std::int64_t ranks, std::int64_t expert) {
    job.parallel.expert = expert;
    return plan::need_on(plan::mesh_of(job, ranks, 0), {job, config, ranks, 4096, machine}).memory;
  };
  CHECK(4 * on(4, 1).moments == on(1, 1).moments);
  CHECK(4 * on(4, 1).truth == on(1, 1).truth);
  CHECK(on(4, 1).weights == on(1, 1).weights);
  // Four ranks have a quarter of the experts each and the dense weights whole: still a quarter of the state.
  CHECK(4 * on(4, 4).moments == on(1, 1).moments);
}

TEST_CASE("ranks that share a machine must fit together", "[plan]") {
  const plan::Need need{.memory = {.weights = 30}};
  plan::Machine machine{.memory = 60, .ranks = 2};
  CHECK(plan::fits(need, machine));
  machine.ranks = 3;
  CHECK_FALSE(plan::fits(need, machine));
}
