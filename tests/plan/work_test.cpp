#include "plan/work.h"

#include "plan/numbers.h"
#include "tests/plan/slice.h"
#include "tests/support/catch.h"

using namespace moebius;

namespace {

constexpr double kTokens = 16'384;

/// The slice's step of `micro_batches` x 4 packs, on `rank` of `ranks`.
std::vector<plan::Operation> slice_operations(const job::Job& job, std::int64_t ranks = 1,
                                              std::int64_t rank = 0, plan::ExtraPasses extra = {}) {
  const plan::Machine machine = test::gpu(80);
  const models::ModelConfig config = test::slice_of_30b(8);
  const cluster::Mesh mesh = plan::mesh_of(job, ranks, rank);
  const plan::Question asked{job, config, ranks, 4096, machine};
  const models::MemoryFormat format = plan::format_of(job, machine);
  const models::Stages stages = plan::stages_of(job, config);
  const models::ModelMemory memory = plan::need_on(mesh, asked).memory;
  const double scale = double(job.train.global_batch_size) / 4;
  return plan::step_operations({.config = config,
                                .mesh = mesh,
                                .stages = stages,
                                .format = format,
                                .memory = memory,
                                .load = {.tokens = scale * kTokens,
                                         .targets = scale * kTokens,
                                         .squares = scale * kTokens * 4096,
                                         .micro_batches = scale},
                                .extra = extra});
}

double sum_of(const std::vector<plan::Operation>& operations, Part part, double plan::Operation::*what) {
  double sum = 0;
  for (const plan::Operation& operation : operations) {
    if (operation.part == part) sum += operation.*what;
  }
  return sum;
}

}  // namespace

TEST_CASE("the FLOPs of a step's operations are the model's", "[plan][work]") {
  const double expected = kTokens * plan::flops_a_token(test::slice_of_30b(8), 4096);
  CHECK(plan::flops_of(slice_operations(test::small_slice_job())) == test::Approx(expected));
  for (const bool in_stages : {false, true}) {
    job::Job job = test::small_slice_job();
    job.train.global_batch_size = 16;
    job.parallel.tensor = 2;
    job.parallel.expert = 4;
    if (in_stages) job.parallel.pipeline = 2;
    double sum = 0;
    for (std::int64_t rank = 0; rank < 8; ++rank) sum += plan::flops_of(slice_operations(job, 8, rank));
    CHECK(sum == test::Approx(4 * expected));
  }
}

TEST_CASE("an adapter's FLOPs are those of its factors and of a model that does not learn", "[plan][work]") {
  job::Job job = test::small_slice_job();
  job.lora.emplace();
  job.lora->targets = {"all-linear", "all-router"};
  const auto adapter = plan::adapter_of(job);
  const double expected = kTokens * plan::flops_a_token(test::slice_of_30b(8), 4096, adapter);
  CHECK(plan::flops_of(slice_operations(job)) == test::Approx(expected));
  const double full = kTokens * plan::flops_a_token(test::slice_of_30b(8), 4096);
  CHECK(expected < 0.75 * full);
  CHECK(expected > 0.66 * full);
}

TEST_CASE("a reference adds its forward, and pairs one of the head", "[plan][work]") {
  job::Job job;
  CHECK(plan::extra_passes(job).heads == 0);
  job.objective.kind = job::ObjectiveKind::dpo;
  const plan::ExtraPasses live = plan::extra_passes(job);
  CHECK(live.forwards == 1);
  CHECK(live.heads == 2);
  job.objective.reference_cache = true;
  CHECK(plan::extra_passes(job).forwards == 0);
  CHECK(plan::extra_passes(job).heads == 1);
  // A third of all products are forward's.
  const double sft = plan::flops_of(slice_operations(test::small_slice_job()));
  const double head = sum_of(slice_operations(test::small_slice_job()), Part::head, &plan::Operation::flops);
  const double dpo = plan::flops_of(slice_operations(test::small_slice_job(), 1, 0, live));
  CHECK(dpo == test::Approx(sft + (sft - head) / 3 + 2 * head / 3));
}

TEST_CASE("the bytes of a step's operations, counted by hand", "[plan][work]") {
  const auto operations = slice_operations(test::small_slice_job());
  const auto bytes = [&](Part part) { return sum_of(operations, part, &plan::Operation::bytes); };
  const double hidden = 2 * kTokens * 2048;  // bytes of all hidden states
  CHECK(bytes(Part::norms) == test::Approx((8 * 8 + 2 + 8 * 8 + 3) * hidden));
  CHECK(bytes(Part::embedding) == test::Approx(5 * hidden + 2 * 151'936.0 * 2048));
  // bf16: weights, their other halves, gradients and two moments, 10 bytes a parameter, all read and written.
  const double parameters = double(plan::numbers_of(test::slice_of_30b(8)).parameters);
  CHECK(bytes(Part::optimizer) == test::Approx(20 * parameters).epsilon(1e-4));
  // A layer's experts: 604 M weights, read twice and written once; 131,072 rows of 2048 and 768.
  const double rows = 2 * 131'072.0, weights = 2 * 128 * 768 * 2048.0;
  const double up = 3 * (rows * (2048 + 1536) + 2 * weights), down = 3 * (rows * (768 + 2048) + weights);
  CHECK(bytes(Part::experts) == test::Approx(8 * (up + down + 8 * rows * 768)));
}

TEST_CASE("a limit is the longer of products and transfers, operation by operation", "[plan][work]") {
  const std::vector<plan::Operation> operations{{Part::experts, Pass::forward, 100, 1},
                                                {Part::experts, Pass::forward, 1, 100},
                                                {Part::norms, Pass::backward, 0, 30}};
  const PhaseTimes limits = plan::limits_of(operations, {.flops = 10, .bytes = 5});
  CHECK(limits.at(Part::experts, Pass::forward) == 10 + 20);
  CHECK(limits.at(Part::norms, Pass::backward) == 6);
  CHECK(limits.total() == 36);

  // The slice on an H100 of 1070 TFLOP/s and 3.35 TB/s; measured: 210 ms.
  const double step = plan::limits_of(slice_operations(test::small_slice_job()), {1.07e15, 3.35e12}).total();
  CHECK(step > 0.100);
  CHECK(step < 0.180);
}
