#include "plan/report.h"

#include "tests/models/tiny_configs.h"
#include "tests/plan/slice.h"
#include "tests/support/catch.h"

using namespace moebius;
using test::contains;

namespace {

std::string report_of(const plan::Question& question) {
  const std::vector<plan::RankKind> kinds = plan::rank_kinds(question);
  if (plan::fits(kinds.front().need, question.machine)) return plan::report_text(question, kinds, {});
  return plan::report_text(question, kinds, plan::advise(question));
}

}  // namespace

TEST_CASE("a plan that fits says what there is and what is left", "[plan]") {
  const job::Job job = test::small_slice_job();
  const models::ModelConfig config = test::slice_of_30b(8);
  const std::string text = report_of({job, config, 1, 4096, test::gpu(80)});
  CHECK_THAT(text,
             contains("qwen3_moe, 8 layers: 5.607 billion parameters, of which a token meets 13.7 %\n"));
  CHECK_THAT(text, contains("4 full packs of 4096 tokens, all trained: 16384 tokens\n"));
  CHECK_THAT(text, contains("step         16384 tokens, 1 micro batch a data rank, 5.403 GFLOP a token, "
                            "88.52 TFLOP\n"));
  CHECK_THAT(text, contains("computed in  bf16 on GPUs\n"));
  CHECK_THAT(text, contains("\nweights          10.4 GiB       11214594048\n"));
  CHECK_THAT(text, contains("\nthe GPU has        80 GiB       85899345920\nleft "));
  CHECK_THAT(text, !contains("recommended"));
}

TEST_CASE("a plan that does not fit says what is missing and what would help", "[plan]") {
  const job::Job job = test::small_slice_job();
  const models::ModelConfig config = test::slice_of_30b(8);
  const std::string text = report_of({job, config, 1, 4096, test::gpu(60)});
  CHECK_THAT(text, contains("\nmissing "));
  CHECK_THAT(text, contains("\ntrain.recompute = \"full\""));
  CHECK_THAT(text, contains("\nrecommended: use train.micro_batch_size = 1 ("));
}

TEST_CASE("ranks that share a machine are told", "[plan]") {
  job::Job job;
  job.data.max_length = 64;
  job.data.packing = false;
  job.parallel.tensor = 4;
  job.parallel.expert = 2;
  const models::ModelConfig config = test::tiny_moe();
  const plan::Machine machine = test::node(1, 8);
  const std::string text = report_of({job, config, 8, 64, machine});
  CHECK_THAT(text, contains("8 ranks: tensor 4 x data 2, expert 2 x expert_data 4, "));
  CHECK_THAT(text,
             contains("1 sample of 64 tokens, all trained: 64 tokens, the same number for every expert"));
  CHECK_THAT(text, contains("\n8 ranks "));
  CHECK_THAT(text, contains("\nthe node has "));
  CHECK_THAT(text, contains("get twice their even share"));
}

TEST_CASE("parts that only some ranks have stand in lines of their own", "[plan]") {
  job::Job job = test::small_slice_job();
  job.parallel.tensor = 2;
  const models::ModelConfig config = test::slice_of_30b(8);
  const plan::Machine machine = test::gpu(80);
  const auto mib = [](std::int64_t count) { return count << 20; };
  const std::vector<plan::RankKind> kinds{
      {0, 1, {.memory = {.weights = mib(5), .messages = mib(2)}, .libraries = mib(3)}},
      {1, 1, {.memory = {.weights = mib(4), .tables = mib(1)}, .libraries = mib(3)}}};
  const std::string text = plan::report_text({job, config, 2, 4096, machine}, kinds, {});
  CHECK_THAT(text, contains("\nweights             5 MiB           5242880       4 MiB           4194304\n"));
  CHECK_THAT(text, contains("\nmessages            2 MiB           2097152         0 B                 0\n"));
  CHECK_THAT(text, contains("\ntables                0 B                 0       1 MiB           1048576\n"));
  CHECK_THAT(text, contains("\nlibraries           3 MiB           3145728       3 MiB           3145728\n"));
  CHECK_THAT(text, contains("\ntotal              10 MiB          10485760       8 MiB           8388608\n"));
  CHECK_THAT(text, !contains("\ngradients"));
}

TEST_CASE("a refusal names the need, the machine and the cure", "[plan]") {
  const plan::Need need{.memory = {.weights = std::int64_t{3} << 30}};
  CHECK(plan::refusal_text(test::gpu(2), need, {}) ==
        "a rank needs 3 GiB, but the GPU has 2 GiB; no change of the job alone is enough: start more ranks "
        "with "
        "a larger parallel.expert or parallel.tensor, or lower data.max_length");
  plan::Advice advice;
  advice.cheapest = {.settings = {"a = 1", "b = 2"}, .price = "", .need = {.memory = {.weights = 1 << 30}}};
  CHECK(plan::refusal_text(test::node(4, 2), need, advice) ==
        "2 ranks need 3 GiB each, 6 GiB in all, but the node has 4 GiB; use a = 1, b = 2 (1 GiB each)");
}
