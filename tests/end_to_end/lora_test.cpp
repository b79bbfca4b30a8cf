#include "tests/end_to_end/recorded.h"
#include "tests/end_to_end/tiny_job.h"
#include "tests/support/catch.h"
#include "tests/support/shared.h"

// Training of adapters as users run it: against PyTorch's numbers where the shared test data is there,
// against one rank everywhere.

using namespace moebius;
using test::Json;

namespace {

struct Recorded {
  const char *model, *adapter;
};
const Recorded kRecorded[] = {
    {"qwen3_moe_a", "lora_attention"}, {"qwen3_moe_a", "lora_experts"}, {"qwen2_dense", "lora_linear"}};

/// The recorded run of an adapter, and what the program makes of it.
class Adapter {
 public:
  Adapter(const Recorded& recorded, const test::TemporaryFolder& folder, const test::Program& program)
      : folder_(folder),
        program_(program),
        model_(*test::shared_folder() / "data/fixtures/tiny" / recorded.model),
        name_(recorded.adapter),
        run_(Json::parse(test::slurp(model_ / (name_ + ".json")))) {}

  void check_score(int ranks, const std::vector<std::string>& model, const char* state) const {
    std::vector<std::string> arguments{"score", "--input", model_ / "score.jsonl"};
    arguments.insert(arguments.begin() + 1, model.begin(), model.end());
    const auto outcome = program_.run(ranks, arguments);
    INFO(name_ << state << ": " << outcome.err);
    REQUIRE(outcome.exit_code == 0);
    CHECK(test::worst_logprob(outcome.out, test::slurp(model_ / (name_ + state + "_expected.jsonl"))) < 5e-5);
  }
  /// Returns the last checkpoint.
  [[nodiscard]] std::string check_training(int ranks, const std::vector<std::string>& settings) const {
    const std::string output = (folder_ / (name_ + std::to_string(ranks))).string();
    test::spill(folder_ / "job.toml", test::text_of({model_, run_, output, 20}));
    std::vector<std::string> arguments{"train", (folder_ / "job.toml").string()};
    for (const std::string& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
    const auto outcome = program_.run(ranks, arguments);
    INFO(name_ << " on " << ranks << " ranks: " << outcome.err);
    REQUIRE(outcome.exit_code == 0);
    const auto rows = test::rows_of(test::slurp(output + "/metrics.jsonl"));
    for (const auto& [key, bound] : {std::pair{"loss", 1e-5}, {"grad_norm", 1e-4}}) {
      const double worst =
          test::worst_relative(test::column(rows, key), run_["expected"][key].get<std::vector<double>>());
      INFO(key);
      CHECK(worst < bound);
    }
    return output + "/checkpoints/step_00000020.h5";
  }
  void check_export(const std::string& checkpoint, const char* how) const {
    const std::string out = (folder_ / (name_ + how)).string();
    const auto outcome = program_.run(1, {"export", checkpoint, "-o", out, how});
    INFO(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    check_score(1, {out}, "_trained_score");
  }
  [[nodiscard]] std::string model() const { return model_; }
  [[nodiscard]] std::string adapter() const { return model_ / name_; }

 private:
  const test::TemporaryFolder& folder_;
  const test::Program& program_;
  std::filesystem::path model_;
  std::string name_;
  Json run_;
};

/// A job that trains a new adapter beside a model of the test's own, in a folder.
class LoraJob {
 public:
  explicit LoraJob(const test::TemporaryFolder& folder) : program(folder), job(folder) {
    job.settings["train"]["iterations"] = "1";
    job.settings["optimizer"]["lr"] = "0.0";
    job.settings["optimizer"]["min_lr"] = "0.0";
    REQUIRE(program.run(1, {"train", job.file("base")}).exit_code == 0);
    REQUIRE(program.run(1, {"export", job.output("base") + "/checkpoints/step_00000001.h5", "-o", model()})
                .exit_code == 0);
    job.settings["model"] = {{"path", "\"" + model() + "\""}};
    job.settings["train"]["iterations"] = "8";
    job.settings["optimizer"]["lr"] = "1e-2";
    job.settings["checkpoint"]["interval"] = "4";
    job.settings["lora"] = {
        {"rank", "4"}, {"dropout", "0.2"}, {"targets", R"(["all-linear", "all-router"])"}};
  }
  [[nodiscard]] std::string model() const { return job.output("model"); }
  [[nodiscard]] std::vector<Json> train(const std::string& name, int ranks,
                                        const std::vector<std::string>& settings) {
    std::vector<std::string> arguments{"train", job.file(name)};
    for (const std::string& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
    const auto outcome = program.run(ranks, arguments);
    INFO(name << ": " << outcome.err);
    REQUIRE(outcome.exit_code == 0);
    return job.metrics(name);
  }
  [[nodiscard]] std::string refusal(const std::vector<std::string>& settings, int exit_code) {
    std::vector<std::string> arguments{"train", job.file("refused")};
    for (const std::string& setting : settings) arguments.insert(arguments.end(), {"--set", setting});
    const auto outcome = program.run(1, arguments);
    CHECK(outcome.exit_code == exit_code);
    return outcome.err;
  }

  test::Program program;
  test::TinyJob job;
};

}  // namespace

TEST_CASE("adapters give PyTorch's losses, and peft's results before and after", "[slow][lora]") {
  if (!test::shared_folder()) return;
  const test::TemporaryFolder folder;
  const test::Program program(folder);
  for (const Recorded& recorded : kRecorded) {
    const Adapter adapter(recorded, folder, program);
    adapter.check_score(1, {adapter.model(), "--adapter", adapter.adapter()}, "_score");
    const bool has_experts = recorded.model == std::string("qwen3_moe_a");
    (void)adapter.check_training(1, {});
    const std::string checkpoint = adapter.check_training(
        4, {"parallel.tensor=2", has_experts ? "parallel.expert=2" : "parallel.context=2"});
    adapter.check_score(2, {checkpoint}, "_trained_score");
    adapter.check_export(checkpoint, "--merge-adapter");
    adapter.check_export(checkpoint, "--adapter-only");
  }
}

TEST_CASE("an adapter trains alike on every kind of mesh, and goes on on another", "[slow][lora]") {
  const test::TemporaryFolder folder;
  LoraJob lora(folder);
  const auto alone = lora.train("alone", 1, {});
  CHECK(alone.back()["loss"].get<double>() < 0.98 * alone.front()["loss"].get<double>());
  const std::vector<std::pair<int, std::vector<std::string>>> meshes{
      {4, {"parallel.tensor=2", "parallel.expert=2", "parallel.expert_tensor=2"}},
      {4, {"parallel.pipeline=2", "parallel.schedule=\"zero-bubble\"", "parallel.expert=2"}},
      {4,
       {"parallel.context=2", "parallel.expert=4", "moe.overlap=\"halves\"",
        "train.recompute=\"selective\""}},
      {2, {"parallel.tensor=2", "train.recompute=\"full\""}},
  };
  for (std::size_t i = 0; i < meshes.size(); ++i) {
    const auto rows = lora.train(fmt::format("mesh{}", i), meshes[i].first, meshes[i].second);
    for (const auto& [key, bound] : {std::pair{"loss", 1e-5}, {"grad_norm", 1e-4}, {"z_loss", 1e-4}}) {
      INFO("mesh " << i << " " << key);
      CHECK(test::worst_relative(test::column(rows, key), test::column(alone, key)) < bound);
    }
  }
  const std::string from = lora.job.output("mesh0") + "/checkpoints",
                    to = lora.job.output("resumed") + "/checkpoints";
  std::filesystem::create_directories(to);
  std::filesystem::copy_file(from + "/step_00000004.h5", to + "/step_00000004.h5");
  const auto rest = lora.train("resumed", 2, {"parallel.pipeline=2"});
  REQUIRE(rest.size() == 4);
  const std::vector<Json> expected(alone.begin() + 4, alone.end());
  CHECK(test::worst_relative(test::column(rest, "loss"), test::column(expected, "loss")) < 1e-5);
}

TEST_CASE("adapters that cannot be are refused with a reason", "[slow][lora]") {
  const test::TemporaryFolder folder;
  LoraJob lora(folder);
  const auto says = [](const std::string& text, const std::string& part) {
    INFO(text);
    CHECK(text.find(part) != std::string::npos);
  };
  says(lora.refusal({"lora.targets=[\"query\"]"}, 2),
       "--set lora.targets  lora.targets: 'query' is no linear layer of the model (there are all-linear, "
       "all-router, down_proj, gate, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj)");
  says(lora.refusal({"lora.targets=[\"lm_head\"]"}, 2), "adapters of the vocabulary's tables are not built");
  says(lora.refusal({"lora.adapter=\"" + lora.model() + "\""}, 3),
       "no adapter_config.json in this folder; an adapter's folder has one");
  lora.job.settings["train"]["iterations"] = "1";
  (void)lora.train("done", 1, {});
  const std::string checkpoint = lora.job.output("done") + "/checkpoints/step_00000001.h5";
  says(lora.refusal({"lora.adapter=\"" + checkpoint + "\"", "lora.rank=8"}, 2),
       "lora.rank = 8 differs from the adapter in " + checkpoint + " (leave it out)");
  says(lora.refusal({"model.path=\"" + checkpoint + "\""}, 3), "holds an adapter and not the model");
  const auto alone = lora.program.run(
      1, {"export", checkpoint, "-o", (folder / "peft").string(), "--adapter-only", "--check"});
  CHECK(alone.exit_code == 0);
  says(alone.err, "peft (0.21) leaves out the factors of");  // the model mixes dense and expert layers
  says(alone.err, "has no adapters of routers");
  lora.job.settings["train"]["iterations"] = "2";
  const auto again = lora.program.run(1, {"train", lora.job.file("done"), "--set", "lora.alpha=7"});
  CHECK(again.exit_code == 0);
  says(again.err, "was trained with another [lora] or beside another model.path than this job's");
  const auto exported = lora.program.run(1, {"export", checkpoint, "-o", (folder / "out").string()});
  CHECK(exported.exit_code == 2);
  says(exported.err, "is an adapter; --merge-adapter exports the model with it taken in");
  const auto whole =
      lora.program.run(1, {"export", lora.model(), "-o", (folder / "out").string(), "--adapter-only"});
  CHECK(whole.exit_code == 2);
  says(whole.err, "is a whole model, and no --adapter was named: --adapter-only has no effect");
  std::filesystem::rename(lora.model(), lora.model() + "-moved");
  const auto lost = lora.program.run(1, {"generate", checkpoint, "--prompt", "a"});
  CHECK(lost.exit_code == 3);
  says(lost.err, "holds an adapter, and the model that it is for, '" + lora.model() + "', is not there");
}
