#include "tests/end_to_end/recorded.h"
#include "tests/support/catch.h"
#include "tests/support/shared.h"

// The program against transformers' float64 results on tiny random models (see the README beside them).

using namespace moebius;
using test::Json;

namespace {

const char* const kFolders[] = {"qwen2_dense", "qwen3_dense", "qwen3_moe_a", "qwen3_moe_b"};

std::optional<std::filesystem::path> tiny() {
  const auto shared = test::shared_folder();
  if (!shared) return std::nullopt;
  return *shared / "data/fixtures/tiny";
}

}  // namespace

TEST_CASE("score agrees with transformers on 1, 2 and 4 ranks", "[slow][fixtures]") {
  const auto root = tiny();
  if (!root) return;
  const test::TemporaryFolder folder;
  const test::Program program(folder);
  const std::string name = GENERATE(from_range(std::begin(kFolders), std::end(kFolders)));
  const int ranks = GENERATE(1, 2, 4);
  const auto outcome = program.run(ranks, {"score", *root / name, "--input", *root / name / "score.jsonl"});
  INFO(name << " on " << ranks << " ranks: " << outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const double worst = test::worst_logprob(outcome.out, test::slurp(*root / name / "score_expected.jsonl"));
  WARN(name << " on " << ranks << " ranks: largest difference of a log-probability " << worst);
  CHECK(worst < 1e-4);
}

TEST_CASE("generate gives transformers' greedy tokens", "[slow][fixtures]") {
  const auto root = tiny();
  if (!root) return;
  const test::TemporaryFolder folder;
  const test::Program program(folder);
  const std::string name = GENERATE(from_range(std::begin(kFolders), std::end(kFolders)));
  const int ranks = GENERATE(1, 2);
  const Json expected = Json::parse(test::slurp(*root / name / "generate_expected.json"));
  std::string prompts;
  for (const Json& one : expected["cases"]) prompts += Json{{"input_ids", one["input_ids"]}}.dump() + "\n";
  test::spill(folder / "prompts.jsonl", prompts);
  const auto outcome =
      program.run(ranks, {"generate", *root / name, "--ids", (folder / "prompts.jsonl").string(), "--json",
                          "--ignore-eos", "--max-new-tokens", expected["max_new_tokens"].dump()});
  INFO(name << ": " << outcome.err);
  REQUIRE(outcome.exit_code == 0);
  const auto rows = test::rows_of(outcome.out);
  REQUIRE(rows.size() == expected["cases"].size());
  for (std::size_t i = 0; i < rows.size(); ++i) CHECK(rows[i]["ids"] == expected["cases"][i]["output_ids"]);
}

TEST_CASE("20 steps of AdamW give PyTorch's losses and gradient norms", "[slow][fixtures]") {
  const auto root = tiny();
  if (!root) return;
  const test::TemporaryFolder folder;
  const test::Program program(folder);
  for (const char* name : kFolders) {
    for (const auto& entry : std::filesystem::directory_iterator(*root / name)) {
      const std::string file = entry.path().filename();
      if (!file.starts_with("train_") || !file.ends_with(".json")) continue;
      const Json run = Json::parse(test::slurp(entry.path()));
      for (const int ranks : {1, 2}) {
        const std::string output = (folder / (std::string(name) + file + std::to_string(ranks))).string();
        test::spill(folder / "job.toml", test::text_of({*root / name, run, output}));
        const auto outcome = program.run(ranks, {"train", (folder / "job.toml").string()});
        INFO(name << " " << file << ": " << outcome.err);
        REQUIRE(outcome.exit_code == 0);
        const auto rows = test::rows_of(test::slurp(output + "/metrics.jsonl"));
        const auto worst = [&](const char* key) {
          return test::worst_relative(test::column(rows, key),
                                      run["expected"][key].get<std::vector<double>>());
        };
        WARN(name << " " << file << " on " << ranks << " ranks: loss off by " << worst("loss")
                  << ", grad_norm by " << worst("grad_norm"));
        CHECK(worst("loss") < 1e-4);
        CHECK(worst("grad_norm") < 1e-3);
        if (run["expected"].contains("aux_loss")) CHECK(worst("aux_loss") < 1e-4);
        if (run["expected"].contains("z_loss")) CHECK(worst("z_loss") < 1e-4);
      }
    }
  }
}

TEST_CASE("import and export give back the source's tensors bit for bit", "[slow][fixtures]") {
  const auto root = tiny();
  if (!root) return;
  const test::TemporaryFolder folder;
  const test::Program program(folder);
  for (const char* name : kFolders) {
    for (const int ranks : {1, 2, 4}) {
      const std::string stem = (folder / (std::string(name) + std::to_string(ranks))).string();
      REQUIRE(program.run(ranks, {"import", *root / name, "-o", stem + ".h5"}).exit_code == 0);
      const auto exported = program.run(ranks, {"export", stem + ".h5", "-o", stem, "--check"});
      INFO(exported.err);
      REQUIRE(exported.exit_code == 0);
      CHECK(test::slurp(*root / name / "config.json") == test::slurp(stem + "/config.json"));
      const auto scored = program.run(1, {"score", stem, "--input", *root / name / "score.jsonl"});
      CHECK(test::worst_logprob(scored.out, test::slurp(*root / name / "score_expected.jsonl")) < 1e-4);
    }
  }
}
