#include <cmath>

#include "models/models.h"
#include "tests/models/tiny_folder.h"
#include "tests/support/catch.h"
#include "tests/support/shared.h"

// Against transformers in float64: the folders' README says how far float32 is from it.

using namespace moebius;
using test::Approx;

namespace {

constexpr std::array kFolders{"qwen2_dense", "qwen3_dense", "qwen3_moe_a", "qwen3_moe_b"};

struct TinyModel {
  explicit TinyModel(const std::filesystem::path& folder)
      : exchange(parallel::make_local_exchange<Space::host>()), rig(test::config_of(folder), *exchange) {
    test::load(folder, rig.weights());
  }
  std::unique_ptr<parallel::Exchange<Space::host>> exchange;
  test::ModelRig rig;
};

void check_rows(test::ModelRig& rig, const std::filesystem::path& folder) {
  const auto rows = test::json_rows(folder / "score.jsonl");
  const auto expected = test::json_rows(folder / "score_expected.jsonl");
  std::vector<test::Row> packed;
  std::vector<double> wanted;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    packed.push_back(test::row_of(rows[r]));
    const std::vector<float> alone = test::score(rig, {packed.back()});
    const auto& logprobs = expected[r].at("logprobs");
    REQUIRE(alone.size() + 1 == logprobs.size());
    for (std::size_t t = 0; t < alone.size(); ++t) {
      wanted.push_back(logprobs[t + 1].get<double>());
      CHECK(alone[t] == Approx(wanted.back()).margin(1e-4).epsilon(0));
    }
  }
  const std::vector<float> together = test::score(rig, packed);
  REQUIRE(together.size() == wanted.size());
  for (std::size_t t = 0; t < wanted.size(); ++t) {
    CHECK(together[t] == Approx(wanted[t]).margin(1e-4).epsilon(0));
  }
}

void check_greedy(test::ModelRig& rig, const nlohmann::json& cases) {
  std::vector<std::vector<std::int32_t>> fed, expected;
  for (const auto& entry : cases) {
    fed.push_back(entry.at("input_ids"));
    expected.push_back(entry.at("output_ids"));
  }
  Arena<Space::host> memory("cache");
  auto cache = rig.decoder().make_cache(std::int64_t(fed.size()), 256, memory);
  const std::int64_t vocab = rig.config().vocab;
  std::vector<float> logits(fed.size() * std::size_t(vocab));
  for (std::size_t step = 0; step < expected.front().size(); ++step) {
    rig.decoder().decode(fed, cache, {logits.data(), {std::int64_t(fed.size()), vocab}});
    for (std::size_t s = 0; s < fed.size(); ++s) {
      const auto begin = logits.begin() + std::ptrdiff_t(s) * vocab;
      const auto token = std::int32_t(std::max_element(begin, begin + vocab) - begin);
      REQUIRE(token == expected[s][step]);
      fed[s] = {token};
    }
  }
}

/// The first step of a training run.
void check_first_step(test::ModelRig& rig, const std::filesystem::path& run,
                      const std::filesystem::path& data) {
  const auto description = nlohmann::json::parse(test::slurp(run));
  const auto rows = test::json_rows(data);
  const auto& settings = description.at("settings");
  layers::AuxCoefficients coefficients;
  if (settings.contains("moe")) {
    coefficients = {settings.at("moe").value("aux_loss_coeff", 0.0) / 4,
                    settings.at("moe").value("z_loss_coeff", 0.0) / 4};
  }
  std::int64_t trained = 0;
  for (int r = 0; r < 4; ++r) trained += test::trained_count(test::row_of(rows[r]));
  rig.clear_gradients();
  test::StepResult sum;
  for (int r = 0; r < 4; ++r) {
    test::Packed packed;
    packed.append(test::row_of(rows[r]));
    const test::StepResult result = test::train_micro_batch(rig, packed, trained, coefficients);
    sum.loss += result.loss, sum.aux += result.aux / 4, sum.z += result.z / 4;
  }
  double squares = 0;
  for (std::int64_t i = 0; i < rig.gradients().flat().size(); ++i) {
    squares += double(rig.gradients().flat()(i)) * double(rig.gradients().flat()(i));
  }
  const auto& expected = description.at("expected");
  CHECK(sum.loss == Approx(expected.at("loss")[0].get<double>()).epsilon(1e-6));
  CHECK(std::sqrt(squares) == Approx(expected.at("grad_norm")[0].get<double>()).epsilon(2e-5));
  if (!expected.contains("aux_loss")) return;
  CHECK(sum.aux == Approx(expected.at("aux_loss")[0].get<double>()).epsilon(1e-5));
  CHECK(sum.z == Approx(expected.at("z_loss")[0].get<double>()).epsilon(1e-5));
}

}  // namespace

TEST_CASE("log-probabilities are transformers'", "[models][fixtures]") {
  const auto shared = test::shared_folder();
  if (!shared) return;
  for (const char* name : kFolders) {
    INFO(name);
    const std::filesystem::path folder = *shared / "data/fixtures/tiny" / name;
    TinyModel model(folder);
    check_rows(model.rig, folder);
  }
}

TEST_CASE("greedy tokens are transformers'", "[models][fixtures]") {
  const auto shared = test::shared_folder();
  if (!shared) return;
  for (const char* name : kFolders) {
    INFO(name);
    const std::filesystem::path folder = *shared / "data/fixtures/tiny" / name;
    TinyModel model(folder);
    check_greedy(model.rig,
                 nlohmann::json::parse(test::slurp(folder / "generate_expected.json")).at("cases"));
  }
}

TEST_CASE("loss, auxiliary losses and gradient norm of a first step are PyTorch's", "[models][fixtures]") {
  const auto shared = test::shared_folder();
  if (!shared) return;
  for (const char* name : kFolders) {
    const std::filesystem::path folder = *shared / "data/fixtures/tiny" / name;
    TinyModel model(folder);
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      const std::string file = entry.path().filename().string();
      if (!file.starts_with("train_") || entry.path().extension() != ".json") continue;
      INFO(name << "/" << file);
      check_first_step(model.rig, entry.path(), folder / (entry.path().stem().string() + ".jsonl"));
    }
  }
}
