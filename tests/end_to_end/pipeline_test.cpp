#include "tests/end_to_end/tiny_job.h"
#include "tests/support/catch.h"

using namespace moebius;

namespace {

/// Settings of [parallel], and the ranks that they are for.
struct Layout {
  std::string name;
  int ranks;
  std::vector<std::string> settings;
};

std::vector<std::string> train(const std::string& job, const Layout& layout) {
  std::vector<std::string> arguments{"train", job};
  for (const std::string& setting : layout.settings) {
    arguments.emplace_back("--set");
    arguments.push_back(setting.find('.') == std::string::npos ? "parallel." + setting : setting);
  }
  return arguments;
}

constexpr const char* kZeroBubble = "schedule=\"zero-bubble\"";

const std::vector<Layout> kLayouts{
    {"p2", 2, {"pipeline=2"}},
    {"p4", 4, {"pipeline=4"}},
    {"p8", 8, {"pipeline=8"}},
    {"p2d2", 4, {"pipeline=2"}},
    {"p2v2", 2, {"pipeline=2", "virtual_pipeline=2"}},
    {"p4v2", 4, {"pipeline=4", "virtual_pipeline=2"}},
    {"p2v4d2", 4, {"pipeline=2", "virtual_pipeline=4"}},
    {"p2t2", 4, {"pipeline=2", "tensor=2"}},
    {"p2e2", 4, {"pipeline=2", "expert=2"}},
    {"p2t2e4d2", 8, {"pipeline=2", "tensor=2", "expert=4"}},
    {"p2v2t2e2d2", 8, {"pipeline=2", "virtual_pipeline=2", "tensor=2", "expert=2"}},
    {"p4e2", 8, {"pipeline=4", "expert=2"}},
    {"p2zero", 2, {"pipeline=2", kZeroBubble}},
    {"p4zero", 4, {"pipeline=4", kZeroBubble}},
    {"p4zerod2e2", 8, {"pipeline=4", "expert=2", kZeroBubble}},
    {"p2zerot2c2", 8, {"pipeline=2", "tensor=2", "context=2", "expert=4", kZeroBubble}},
    {"p2v2c2", 4, {"pipeline=2", "virtual_pipeline=2", "context=2"}},
    {"p2full", 2, {"pipeline=2", "train.recompute=\"full\"", "train.recompute_layers=3"}},
    {"p2v2selective", 2, {"pipeline=2", "virtual_pipeline=2", "train.recompute=\"selective\""}},
};

/// Eight layers, every second one dense.
void make_deep(test::TinyJob& job, bool tied) {
  job.reshape({{"num_hidden_layers", 8}, {"mlp_only_layers", {1, 3, 5, 7}}, {"tie_word_embeddings", tied}});
  job.settings["train"]["iterations"] = "10";
}

}  // namespace

TEST_CASE("every pipeline gives the losses of one rank", "[slow][pipeline]") {
  const test::TemporaryFolder folder;
  const test::Program program(folder);
  for (const bool tied : {false, true}) {
    test::TinyJob job(folder);
    make_deep(job, tied);
    const auto run = [&](const Layout& layout) {
      const std::string name = layout.name + (tied ? "tied" : "");
      const auto outcome = program.run(layout.ranks, train(job.file(name), layout));
      INFO(name << ": " << outcome.err);
      REQUIRE(outcome.exit_code == 0);
      return job.metrics(name);
    };
    const auto alone = run({"alone", 1, {}});
    REQUIRE(alone.size() == 10);
    for (const Layout& layout : kLayouts) {
      const auto rows = run(layout);
      const auto worst = [&](const char* key) {
        return test::worst_relative(test::column(rows, key), test::column(alone, key));
      };
      WARN(fmt::format("{}{}: loss off by {:.1e}, grad_norm {:.1e}, aux {:.1e}, z {:.1e}", layout.name,
                       tied ? ", tied" : "", worst("loss"), worst("grad_norm"), worst("aux_loss"),
                       worst("z_loss")));
      CHECK(worst("loss") < 1e-5);
      CHECK(worst("grad_norm") < 1e-4);
      CHECK(worst("aux_loss") < 1e-5);
      CHECK(worst("z_loss") < 1e-4);
      CHECK(test::column(rows, "tokens") == test::column(alone, "tokens"));
    }
  }
}

TEST_CASE("a checkpoint of one pipeline goes on on others, and is scored, evaluated and exported on them",
          "[slow][pipeline]") {
  const test::TemporaryFolder folder;
  const test::Program program(folder);
  test::TinyJob job(folder);
  make_deep(job, true);
  job.settings["data"]["validation"] = job.settings["data"]["train"] =
      fmt::format("[\"{}\"]", (folder / "rows.jsonl").string());
  job.settings["eval"]["interval"] = "5";
  const auto run = [&](const Layout& layout) {
    const auto outcome = program.run(layout.ranks, train(job.file(layout.name), layout));
    INFO(layout.name << ": " << outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return job.metrics(layout.name);
  };
  const auto whole = run({"whole", 2, {"pipeline=2"}});
  const std::vector<test::Json> rest(whole.begin() + 5, whole.end());
  const std::vector<Layout> layouts{{"one", 1, {}},
                                    {"other", 4, {"pipeline=4", "virtual_pipeline=2"}},
                                    {"mixed", 8, {"pipeline=2", "tensor=2", "expert=2"}}};
  for (const Layout& layout : layouts) {
    const std::string from = job.output("whole") + "/checkpoints",
                      to = job.output(layout.name) + "/checkpoints";
    std::filesystem::create_directories(to);
    std::filesystem::copy_file(from + "/step_00000005.h5", to + "/step_00000005.h5");
    const auto rows = run(layout);
    REQUIRE(rows.size() == 5);
    CHECK(test::worst_relative(test::column(rows, "loss"), test::column(rest, "loss")) < 1e-5);
    CHECK(test::worst_relative(test::column(rows, "grad_norm"), test::column(rest, "grad_norm")) < 1e-4);
    CHECK(rows.back()["eval_loss"].get<double>() ==
          test::Approx(rest.back()["eval_loss"].get<double>()).epsilon(1e-5));
  }

  const std::string checkpoint = job.output("whole") + "/checkpoints/step_00000010.h5";
  const std::string rows_file = (folder / "rows.jsonl").string();
  const auto score = [&](int ranks, const std::vector<std::string>& mesh) {
    std::vector<std::string> arguments{"score", checkpoint, "--input", rows_file};
    arguments.insert(arguments.end(), mesh.begin(), mesh.end());
    const auto outcome = program.run(ranks, arguments);
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return outcome.out;
  };
  const auto generate = [&](int ranks, const std::vector<std::string>& mesh) {
    std::vector<std::string> arguments{"generate",     checkpoint,         "--ids", rows_file, "--json",
                                       "--ignore-eos", "--max-new-tokens", "5"};
    arguments.insert(arguments.end(), mesh.begin(), mesh.end());
    const auto outcome = program.run(ranks, arguments);
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return outcome.out;
  };
  CHECK(score(1, {}) == score(4, {"--pipeline", "4"}));
  CHECK(generate(1, {}) == generate(2, {"--pipeline", "2"}));
  const auto exported = program.run(2, {"export", checkpoint, "-o", (folder / "hf").string(), "--check"});
  INFO(exported.err);
  CHECK(exported.exit_code == 0);
}

TEST_CASE("pipelines that the model or the batch does not allow are refused", "[slow][pipeline]") {
  const test::TemporaryFolder folder;
  const test::Program program(folder);
  test::TinyJob job(folder);  // three layers
  const auto refusal = [&](const Layout& layout) {
    const auto outcome = program.run(layout.ranks, train(job.file(layout.name), layout));
    CHECK(outcome.exit_code == 2);
    return outcome.err;
  };
  CHECK_THAT(refusal({"deep", 4, {"pipeline=4"}}),
             test::contains("parallel.pipeline = 4 stages for the model's 3 layers (use at most 3)"));
  CHECK_THAT(refusal({"chunks", 2, {"pipeline=2", "virtual_pipeline=2"}}),
             test::contains("are 4 chunks, but the model has 3 layers (use at most 1)"));
  make_deep(job, false);
  CHECK_THAT(refusal({"batch", 4, {"pipeline=4", "virtual_pipeline=2", "train.global_batch_size=6"}}),
             test::contains("takes micro batches in groups of 4"));
  CHECK_THAT(refusal({"split", 2, {"pipeline=2", kZeroBubble, "train.recompute=\"full\""}}),
             test::contains("computes gradients of weights later"));
  CHECK_THAT(refusal({"turns", 2, {"pipeline=2", "schedule=\"interleaved\""}}),
             test::contains("is for several chunks of layers a stage"));
  CHECK_THAT(refusal({"plain", 2, {"pipeline=2", "virtual_pipeline=2", "schedule=\"1f1b\""}}),
             test::contains("is for one chunk of layers a stage"));
  CHECK_THAT(refusal({"idle_schedule", 1, {kZeroBubble}}), test::contains("has no effect"));
  CHECK_THAT(refusal({"idle", 1, {"virtual_pipeline=2"}}), test::contains("has no effect"));
}
