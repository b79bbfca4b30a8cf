#include <filesystem>

#include "tests/end_to_end/recorded.h"
#include "tests/end_to_end/tiny_job.h"
#include "tests/support/catch.h"
#include "tests/support/shared.h"

// Training on pairs of answers: against PyTorch's float64 runs (see the README beside them), and against one
// rank.

using namespace moebius;

namespace {

using Settings = std::vector<std::string>;

struct Layout {
  std::string name;
  int ranks;
  Settings settings;
};

const std::vector<Layout> kLayouts{
    {"tensor2", 2, {"parallel.tensor=2"}},
    {"context2", 2, {"parallel.context=2", "train.micro_batch_size=2"}},
    {"data2expert4", 4, {"parallel.tensor=2", "parallel.expert=4"}},
    {"pipeline2", 4, {"parallel.pipeline=2", "parallel.schedule=zero-bubble"}},
};

std::vector<std::string> arguments(const std::string& file, const Settings& settings) {
  std::vector<std::string> words{"train", file};
  for (const std::string& setting : settings) words.insert(words.end(), {"--set", setting});
  return words;
}

/// One of the recorded runs.
class Fixture {
 public:
  Fixture(const test::TemporaryFolder& folder, const std::filesystem::path& model, const std::string& name)
      : folder_(folder), model_(model), run_(test::Json::parse(test::slurp(model / (name + ".json")))) {
    test::spill(file(), test::text_of({model, run_, (folder / name).string()}));
  }

  void check(const Layout& layout) const {
    const std::string output = (folder_ / layout.name).string();
    Settings settings = layout.settings;
    settings.push_back("job.output=" + output);
    const auto outcome = test::Program(folder_).run(layout.ranks, arguments(file(), settings));
    INFO(run_["data"] << " on " << layout.name << ": " << outcome.err);
    REQUIRE(outcome.exit_code == 0);
    const auto rows = test::rows_of(test::slurp(output + "/metrics.jsonl"));
    for (const char* key : {"loss", "dpo_loss", "rpo_loss", "reward_margin", "grad_norm"}) {
      const auto expected = run_["expected"][key].get<std::vector<double>>();
      REQUIRE(rows.size() == expected.size());
      for (std::size_t i = 0; i < rows.size(); ++i) {
        INFO(key << " of step " << i);
        const double tolerance = std::string(key) == "grad_norm" ? 1e-3 : 1e-4;
        CHECK(std::abs(rows[i][key].get<double>() - expected[i]) < tolerance * std::max(1.0, expected[i]));
      }
    }
  }
  /// The largest difference of a log-probability after the run.
  [[nodiscard]] double trained_score(const std::string& layout, const std::string& expected) const {
    const auto outcome =
        test::Program(folder_).run(1, {"score", (folder_ / layout).string() + "/checkpoints/step_00000010.h5",
                                       "--input", model_ / "score.jsonl"});
    REQUIRE(outcome.exit_code == 0);
    return test::worst_logprob(outcome.out, test::slurp(model_ / expected));
  }

 private:
  [[nodiscard]] std::string file() const { return (folder_ / "fixture.toml").string(); }

  const test::TemporaryFolder& folder_;
  std::filesystem::path model_;
  test::Json run_;
};

/// 24 pairs with answers of 4 to 19 tokens behind a prompt of three.
std::string pairs() {
  std::string text;
  for (int row = 0; row < 24; ++row) {
    std::vector<std::string> sides;
    for (const int step : {1 + row % 5, 7}) {
      std::vector<int> ids, labels;
      const int length = 7 + (row * 7 + step) % 16;
      for (int i = 0; i < length; ++i) {
        ids.push_back((row * 11 + i * (i < 3 ? 1 : step)) % 96);
        labels.push_back(i < 3 ? -100 : ids.back());
      }
      sides.push_back(test::Json{{"input_ids", ids}, {"labels", labels}}.dump());
    }
    text += fmt::format("{{\"chosen\":{},\"rejected\":{}}}\n", sides[0], sides[1]);
  }
  return text;
}

class PairsJob {
 public:
  PairsJob() : program_(folder_), job_(folder_) {
    test::spill(folder_ / "rows.jsonl", pairs());
    job_.settings["objective"] = {{"kind", "\"dpo\""}, {"beta", "0.5"}, {"rpo_alpha", "0.2"}};
    job_.settings["train"] = {{"global_batch_size", "4"}, {"iterations", "8"}};
    job_.settings["checkpoint"] = {{"interval", "4"}, {"keep", "3"}};
    job_.settings["data"] = {{"packing", "false"}, {"max_length", "32"}};
    job_.settings["moe"] = {};  // auxiliary losses depend on the micro batches
  }
  std::vector<test::Json> run(const Layout& layout) {
    const auto outcome = program_.run(layout.ranks, arguments(job_.file(layout.name), layout.settings));
    INFO(layout.name << ": " << outcome.err);
    REQUIRE(outcome.exit_code == 0);
    said_ = outcome.err;
    return job_.metrics(layout.name);
  }
  [[nodiscard]] std::string output(const std::string& name) const { return job_.output(name); }
  [[nodiscard]] const std::string& said() const { return said_; }  // by the newest run

 private:
  test::TemporaryFolder folder_;
  test::Program program_;
  test::TinyJob job_;
  std::string said_;
};

double worst(const std::vector<test::Json>& rows, const std::vector<test::Json>& expected, const char* key) {
  const auto a = test::column(rows, key), b = test::column(expected, key);
  double largest = a.size() == b.size() ? 0 : 1e30;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

constexpr const char* kNumbers[] = {"loss", "dpo_loss", "rpo_loss", "reward_margin", "grad_norm"};

void check_same(const std::vector<test::Json>& rows, const std::vector<test::Json>& expected,
                double tolerance) {
  REQUIRE(rows.size() == expected.size());
  for (const char* key : kNumbers) {
    INFO(key);
    CHECK(worst(rows, expected, key) < tolerance);
  }
  // Of the first steps it is chance: there the answers are as likely as under the reference.
  CHECK(rows.back()["reward_accuracy"] == expected.back()["reward_accuracy"]);
}

}  // namespace

TEST_CASE("10 steps on pairs give PyTorch's losses, margins and gradient norms", "[slow][dpo]") {
  const auto shared = test::shared_folder();
  if (!shared) return;
  const std::filesystem::path model = *shared / "data/fixtures/tiny/qwen3_moe_a";
  const test::TemporaryFolder folder;
  for (const std::string name : {"dpo_rpo0", "dpo_smooth", "dpo_hinge", "dpo_ipo"}) {
    const Fixture fixture(folder, model, name);
    fixture.check({name, 1, {}});
    if (name != "dpo_rpo0") CHECK(fixture.trained_score(name, name + "_trained_score_expected.jsonl") < 1e-4);
  }
  for (const std::string name : {"dpo_rpo1", "dpo_lora"}) {
    const Fixture fixture(folder, model, name);
    for (const Layout& layout : kLayouts) fixture.check({name + layout.name, layout.ranks, layout.settings});
  }
}

TEST_CASE("pairs in packs and on meshes give the numbers of one rank", "[slow][dpo]") {
  PairsJob job;
  const auto alone = job.run({"alone", 1, {}});
  CHECK(alone.back()["dpo_loss"].get<double>() < 0.9 * alone.front()["dpo_loss"].get<double>());
  for (const Layout& layout : kLayouts) check_same(job.run(layout), alone, 1e-4);

  // All 24 pairs in every step, alone and in packs.
  const auto whole = job.run({"whole", 1, {"train.global_batch_size=24", "train.iterations=3"}});
  const auto packed = job.run(
      {"packed",
       1,
       {"train.global_batch_size=1", "train.iterations=3", "data.packing=true", "data.max_length=1000"}});
  check_same(packed, whole, 1e-5);
}

TEST_CASE("a training on pairs goes on with the reference that it started with", "[slow][dpo]") {
  PairsJob job;
  const auto whole = job.run({"whole", 1, {}});
  const std::string from = job.output("whole") + "/checkpoints", to = job.output("rest") + "/checkpoints";
  std::filesystem::create_directories(to);
  std::filesystem::copy_file(from + "/step_00000004.h5", to + "/step_00000004.h5");
  check_same(job.run({"rest", 1, {}}), {whole.begin() + 4, whole.end()}, 1e-9);
}

TEST_CASE("what the reference says is computed once and found again", "[slow][dpo]") {
  PairsJob job;
  const Settings cached{"objective.reference_cache=true"};
  const auto live = job.run({"live", 1, {}});
  check_same(job.run({"cached", 1, cached}), live, 1e-6);
  const auto rest = [&] {  // of the run, from its checkpoint in the middle
    std::filesystem::remove(job.output("cached") + "/checkpoints/step_00000008.h5");
    return job.run({"cached", 1, cached});
  };
  check_same(rest(), live, 1e-6);
  CHECK_THAT(job.said(), Catch::Contains("found the reference's log-probabilities"));
  CHECK_THAT(job.said(), Catch::Contains("iteration 4") && !Catch::Contains("iteration 3/"));

  for (const auto& entry : std::filesystem::directory_iterator(job.output("cached") + "/cache")) {
    const std::filesystem::path values = entry.path() / "part-0000.values";
    if (std::filesystem::exists(values))
      test::spill(values, std::string(std::filesystem::file_size(values), 'x'));
  }
  check_same(rest(), live, 1e-6);
  CHECK_THAT(job.said(), Catch::Contains("is damaged or lacks samples; it is made again"));

  Settings on_mesh = kLayouts[2].settings;
  on_mesh.insert(on_mesh.end(), cached.begin(), cached.end());
  check_same(job.run({"mesh", 4, on_mesh}), live, 1e-4);
}
