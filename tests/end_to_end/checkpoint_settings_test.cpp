#include "tests/end_to_end/tiny_job.h"
#include "tests/support/catch.h"

using namespace moebius;

TEST_CASE("checkpoint.interval = 0 saves nothing, and a run that is stopped then has failed",
          "[checkpoint]") {
  const test::TemporaryFolder folder;
  const test::Program program(folder);
  test::TinyJob job(folder);
  job.settings["train"]["iterations"] = "3";
  job.settings["checkpoint"] = {{"interval", "0"}};
  const std::string file = job.file("unsaved");
  const std::string checkpoints = job.output("unsaved") + "/checkpoints";
  const auto saved = [&] {
    return std::filesystem::exists(checkpoints) && !std::filesystem::is_empty(checkpoints);
  };
  REQUIRE(program.run(1, {"train", file}).exit_code == 0);
  CHECK(job.metrics("unsaved").size() == 3);
  CHECK_FALSE(saved());

  const test::Outcome late =
      program.run(1, {"train", file, "--set", "job.time_limit=1s", "--set", "train.iterations=100000"});
  CHECK(late.exit_code == 1);
  CHECK(late.err.find("nothing was saved, for checkpoint.interval = 0") != std::string::npos);
  CHECK_FALSE(saved());
}

TEST_CASE("checkpoint.optimizer = false saves the model alone, and a resumed run says what is lost",
          "[checkpoint]") {
  const test::TemporaryFolder folder;
  const test::Program program(folder);
  test::TinyJob job(folder);
  job.settings["train"]["iterations"] = "3";
  job.settings["checkpoint"] = {{"optimizer", "false"}};
  const std::string file = job.file("alone");
  REQUIRE(program.run(1, {"train", file}).exit_code == 0);

  const std::string saved = job.output("alone") + "/checkpoints/step_00000003.h5";
  const test::Outcome inspected = program.run(1, {"inspect", saved});
  CHECK(inspected.exit_code == 0);
  CHECK(inspected.out.find("parameters: ") != std::string::npos);
  CHECK(inspected.out.find("optimizer/") == std::string::npos);

  const test::Outcome resumed = program.run(1, {"train", file, "--set", "train.iterations=4"});
  CHECK(resumed.exit_code == 0);
  CHECK(resumed.err.find("saved without the optimizer: moments start from zero\n") != std::string::npos);
  CHECK(job.metrics("alone").size() == 4);
}
