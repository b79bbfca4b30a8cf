#include "tests/end_to_end/refusal.h"
#include "tests/end_to_end/tiny_job.h"

using namespace moebius;

namespace {

/// A tiny job on CPUs in a folder of its own, and the program that plans it.
struct Plan {
  Plan() { job.settings["model"]["device"] = "\"cpu\""; }

  [[nodiscard]] test::Outcome run(int ranks, std::vector<std::string> options) {
    static_cast<void>(job.file("job"));
    options.insert(options.begin(), {"plan", "job.toml"});
    return test::Program(folder).run(ranks, options);
  }

  test::TemporaryFolder folder;
  test::TinyJob job{folder};
};

bool says(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("plan needs no data and writes nothing but the table", "[slow][plan]") {
  Plan plan;
  plan.job.settings["data"]["train"] = "[\"nowhere.jsonl\"]";
  const int ranks = GENERATE(1, 2);
  const test::Outcome outcome = plan.run(ranks, {});
  INFO(outcome.out << outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(says(outcome.out, "1 full pack of 64 tokens, all trained: 64 tokens\n"));
  CHECK(says(outcome.out, ranks == 1 ? "mesh         1 rank, " : "mesh         2 ranks: data 2, "));
  CHECK(says(outcome.out, "computed in  fp32 on CPUs\n"));
  CHECK(says(outcome.out, "\ntotal "));
  CHECK(says(outcome.out, "\nthe node has "));
  CHECK_FALSE(std::filesystem::exists(plan.job.output("job")));
}

TEST_CASE("plan stands for more ranks than it runs with", "[slow][plan]") {
  Plan plan;
  const test::Outcome outcome =
      plan.run(1, {"--ranks", "8", "--set", "parallel.tensor=2", "--set", "parallel.expert=4"});
  INFO(outcome.out << outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(says(outcome.out, "8 ranks: tensor 2 x data 4, expert 4 x expert_data 2, "));
  CHECK(says(outcome.out, "64 tokens, the same number for every expert\n"));
}

TEST_CASE("plan for GPUs that are not here: exit code 4 and a cure where it does not fit", "[slow][plan]") {
  Plan plan;
  plan.job.settings["model"].erase("device");
  plan.job.settings["data"]["max_length"] = "65536";
  plan.job.settings["train"]["micro_batch_size"] = "8";
  plan.job.settings["train"]["global_batch_size"] = "16";
  const test::Outcome enough = plan.run(1, {"--gpu-memory", "80GiB"});
  INFO(enough.out << enough.err);
  CHECK(enough.exit_code == 0);
  CHECK(says(enough.out, "computed in  bf16 on GPUs\n"));
  CHECK(says(enough.out, "\nlibraries "));
  const test::Outcome little = plan.run(2, {"--gpu-memory", "3GB"});
  INFO(little.out << little.err);
  CHECK(little.exit_code == 4);
  CHECK(says(little.out, "\ntrain.micro_batch_size = 4 "));
  CHECK(says(little.out, "\nrecommended: use train.micro_batch_size = 4 ("));
  const std::string error = test::error_of(little);
  CHECK(says(error, "a rank needs "));
  CHECK(says(error, ", but the GPU has 2.8 GiB; use train.micro_batch_size = 4 ("));
}

TEST_CASE("plan refuses what train would refuse, and settings without effect", "[slow][plan]") {
  Plan plan;
  static_cast<void>(plan.job.file("job"));
  const auto check = [&](std::vector<std::string> options, int exit_code, const std::string& message) {
    options.insert(options.begin(), {"plan", "job.toml"});
    test::check_refused(plan.folder, 1, {std::move(options), exit_code, message});
  };
  check({"--gpu-memory", "80GiB"}, 2,
        "--gpu-memory has no effect with model.device = \"cpu\" (leave it out)");
  check({"--gpu-memory", "much", "--set", "model.device=auto"}, 2,
        "--gpu-memory much: a size such as 80GiB or 141GB");
  check({"--set", "parallel.expert=3"}, 2,
        "--set parallel.expert  parallel.expert = 3 does not divide the model's 8 experts (use 1, 2, 4, 8)\n"
        "1 problem, nothing was started");
  check({"--ranks", "6", "--set", "parallel.tensor=4"}, 4,
        "tensor 4 x context 1 x pipeline 1 = 4 does not divide the 6 ranks of this run; use tensor: 1, 2, 3, "
        "6, or start a multiple of 4 ranks");
}

TEST_CASE("train refuses a job that does not fit before it takes memory", "[slow][plan]") {
  Plan plan;
  plan.job.settings["data"]["max_length"] = "1073741824";
  static_cast<void>(plan.job.file("job"));
  const test::Outcome outcome = test::Program(plan.folder).run(1, {"train", "job.toml"});
  INFO(outcome.err);
  CHECK(outcome.exit_code == 4);
  const std::string error = test::error_of(outcome);
  CHECK(says(error, ": a rank needs "));
  CHECK(says(error, ", but the node has "));
  CHECK(says(error, " TiB"));
}

TEST_CASE("plan draws the schedule of a pipeline", "[slow][plan]") {
  Plan plan;
  const test::Outcome drawn =
      plan.run(1, {"--ranks", "3", "--set", "parallel.pipeline=3", "--schedule", "--schedule-svg", "s.svg"});
  INFO(drawn.out << drawn.err);
  CHECK(drawn.exit_code == 0);
  CHECK(says(drawn.out, "pipeline     3 stages of 1, 1, 1 layers, 1f1b: "));
  CHECK(says(drawn.out, "\nstage 2   |"));
  CHECK(says(test::slurp(plan.folder / "s.svg"), "</svg>"));
  const test::Outcome nothing = plan.run(1, {"--schedule"});
  CHECK(nothing.exit_code == 2);
  CHECK(says(nothing.err, "--schedule has nothing to draw: parallel.pipeline = 1"));
}
