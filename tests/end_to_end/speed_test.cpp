#include "tests/end_to_end/tiny_job.h"
#include "tests/support/catch.h"

using namespace moebius;

TEST_CASE("a run tells where its time went, and its parts add up to the step", "[speed]") {
  const test::TemporaryFolder folder;
  const test::Program program(folder);
  test::TinyJob job(folder);
  job.settings["train"]["iterations"] = "6";
  const test::Outcome run = program.run(2, {"train", job.file("speed")});
  INFO(run.err);
  REQUIRE(run.exit_code == 0);

  for (const test::Json& row : job.metrics("speed")) {
    double sum = 0;
    for (const auto& [name, value] : row.items()) {
      if (name.starts_with("seconds_")) sum += value.get<double>();
    }
    CHECK(sum == test::Approx(row.at("seconds").get<double>()));
  }
  CHECK(run.err.find("first step done after ") < run.err.find("iteration 1/6"));
  const std::string table = test::slurp(job.output("speed") + "/speed.txt");
  for (const char* words :
       {"ms a step", "attention", "experts", "exchange in the update", "optimizer", "100.0 %",
        "mean of iterations 4 to 6", "rank 0 of 2", " tokens/s, ", "first step done"})
    CHECK(table.find(words) != std::string::npos);
  CHECK(run.err.find(table) != std::string::npos);
}
