#include "plan/rules.h"

#include "base/error.h"
#include "tests/models/tiny_configs.h"
#include "tests/support/catch.h"

using namespace moebius;
using test::contains;

namespace {

job::Job job_with(const std::string& key) {
  job::Job job;
  job.file = "a.toml";
  job.places[key] = "a.toml:7:3";
  return job;
}

}  // namespace

TEST_CASE("a mesh that the model does not have is refused at its place", "[plan]") {
  job::Job job = job_with("parallel.expert");
  job.parallel.expert = 3;
  CHECK_THROWS_WITH(plan::check_against_model(job, test::tiny_moe()),
                    contains("a.toml:7:3  parallel.expert = 3 does not divide the model's 8 experts"));
  job.parallel.expert = 4;
  CHECK_NOTHROW(plan::check_against_model(job, test::tiny_moe()));
}

TEST_CASE("settings of experts are refused for a model without any", "[plan]") {
  job::Job job = job_with("moe.routing");
  job.moe.routing = job::Routing::even;
  CHECK_THROWS_WITH(plan::check_against_model(job, test::tiny_dense()),
                    contains("moe.routing = \"even\" has no effect: the model has no experts"));
  CHECK_NOTHROW(plan::check_against_model(job, test::tiny_moe()));
}

TEST_CASE("data ranks must divide the batch", "[plan]") {
  job::Job job = job_with("train.global_batch_size");
  job.train.global_batch_size = 6;
  CHECK_THROWS_WITH(plan::mesh_of(job, 4, 0), contains("train.global_batch_size = 6 is not a multiple of 4"));
  CHECK(plan::mesh_of(job, 3, 1).degree(cluster::Axis::data) == 3);
  job.parallel.tensor = 2;
  CHECK_THROWS_AS(plan::mesh_of(job, 3, 0), ClusterError);
}

TEST_CASE("what is kept in bf16 beside the weights needs weights in bf16", "[plan]") {
  job::Job job = job_with("optimizer.moments");
  job.optimizer.moments = job::StateType::bf16;
  CHECK_THROWS_WITH(plan::check_against_precision(job, plan::Precision::fp32),
                    contains("a.toml:7:3  optimizer.moments = \"bf16\" is for weights in bf16"));
  CHECK_NOTHROW(plan::check_against_precision(job, plan::Precision::bf16));
}
