#include "commands/job_model.h"

#include "tests/support/catch.h"
#include "tests/support/repository.h"

using namespace moebius;

TEST_CASE("a tokenizer's folder alone is enough to render, with the config that lies in it", "[commands]") {
  job::Job job;
  job.model.tokenizer = (test::repository() / "jobs/quickstart").string();
  const commands::JobModel model = commands::open_job_model(job);
  CHECK_FALSE(model.source.has_value());
  CHECK(model.config.family == "qwen3_moe");
  CHECK(model.language->tokenizer().encode("<|im_end|>").size() == 1);
}

TEST_CASE("a random start takes its config from where the job says", "[commands]") {
  job::Job job;
  job.model.config = (test::repository() / "tests/bench/qwen3_moe_small/config.json").string();
  const commands::JobModel model = commands::open_job_model(job);
  CHECK(model.config.vocab == 151936);
  CHECK(model.language->text().tokenizer == nullptr);
  job.model.config = "absent.json";
  CHECK_THROWS_WITH(commands::open_job_model(job), test::contains("absent.json"));
}
