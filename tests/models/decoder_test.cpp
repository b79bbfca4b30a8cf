#include <cmath>
#include <numeric>
#include <random>

#include "tests/models/model_rig.h"
#include "tests/models/tiny_configs.h"
#include "tests/support/catch.h"

using namespace moebius;
using test::Approx;

namespace {

struct LocalModel {
  explicit LocalModel(const models::ModelConfig& config)
      : exchange(parallel::make_local_exchange<Space::host>()), rig(config, *exchange) {}
  std::unique_ptr<parallel::Exchange<Space::host>> exchange;
  test::ModelRig rig;
};

test::Row random_row(unsigned seed, int length, std::int64_t vocab) {
  std::mt19937 engine(seed);
  test::Row row;
  for (int t = 0; t < length; ++t) {
    row.ids.push_back(std::int32_t(engine() % std::uint32_t(vocab)));
    row.labels.push_back(t % 3 == 1 ? -100 : row.ids.back());
    row.loss_scale.push_back(0.5f + float(t % 2));
  }
  return row;
}

}  // namespace

constexpr layers::AuxCoefficients kCoefficients{0.5, 0.1};

// f_e has no gradient: where a step moved an assignment, the difference would jump by 100 times the
// tolerance. The seeds are such that none does.
TEST_CASE("gradients of a whole model match central differences", "[models][decoder]") {
  for (const auto& config : {test::tiny_moe(), test::tiny_dense()}) {
    LocalModel model(config);
    test::ModelRig& rig = model.rig;
    test::Packed packed;
    packed.append(random_row(41, 7, config.vocab));
    packed.append(random_row(42, 5, config.vocab));
    test::train_micro_batch(rig, packed, 7, kCoefficients);
    std::mt19937 engine(3);
    for (std::size_t i = 0; i < rig.layout().count(); ++i) {
      for (int draw = 0; draw < 4; ++draw) {
        const std::int64_t element = std::int64_t(engine() % std::uint64_t(rig.layout().row(i).size));
        float& weight = rig.weights()[i](element);
        const float saved = weight, step = 2e-3f;
        weight = saved + step;
        const double above = test::whole_loss(rig, packed, 7, kCoefficients);
        weight = saved - step;
        const double below = test::whole_loss(rig, packed, 7, kCoefficients);
        weight = saved;
        INFO(rig.layout().table()[i].name << "[" << element << "]");
        CHECK(double(rig.gradients()[i](element)) ==
              Approx((above - below) / (2 * double(step))).margin(3e-3).epsilon(0.01));
      }
    }
  }
}

/// Gradients of two micro batches, the first written, the second added; and what they gave.
struct Trained {
  std::vector<float> gradients;
  std::vector<test::StepResult> results;
};
Trained trained_with(const test::ModelRig::Options& options, const models::ModelConfig& config) {
  const auto exchange = parallel::make_local_exchange<Space::host>();
  test::ModelRig rig(config, *exchange, options);
  Trained trained;
  for (const unsigned seed : {51u, 61u}) {
    test::Packed packed;
    packed.append(random_row(seed, 17, config.vocab));
    packed.append(random_row(seed + 1, 6, config.vocab));
    const auto into = trained.results.empty() ? kernels::Into::overwrite : kernels::Into::add;
    trained.results.push_back(test::train_micro_batch(rig, packed, 30, kCoefficients, into));
  }
  trained.gradients = rig.host_gradients();
  return trained;
}

TEST_CASE("recompute changes no bit of losses and gradients", "[models][decoder]") {
  using models::Recompute;
  for (models::ModelConfig config : {test::tiny_moe(), test::tiny_dense()}) {
    for (const bool tied : {false, true}) {
      config.tied_embeddings = tied;
      const Trained kept = trained_with({.longest = 32}, config);
      CHECK(std::ranges::any_of(kept.gradients, [](float g) { return g != 0; }));
      for (const auto& [recompute, group_layers] : {std::pair{Recompute::selective, 1},
                                                    {Recompute::full, 1},
                                                    {Recompute::full, 2},
                                                    {Recompute::full, 3}}) {
        INFO(config.family << ", tied " << tied << ", recompute " << int(recompute) << " of " << group_layers
                           << " layers");
        const Trained remade =
            trained_with({.longest = 32, .recompute = recompute, .group_layers = group_layers}, config);
        CHECK(remade.gradients == kept.gradients);
        for (std::size_t i = 0; i < kept.results.size(); ++i) {
          CHECK(remade.results[i].loss == kept.results[i].loss);
          CHECK(remade.results[i].aux == kept.results[i].aux);
          CHECK(remade.results[i].z == kept.results[i].z);
        }
      }
    }
  }
}

TEST_CASE("packed samples do not see each other", "[models][decoder]") {
  LocalModel model(test::tiny_moe());
  const test::Row first = random_row(4, 9, 61), second = random_row(5, 6, 61);
  std::vector<float> apart = test::score(model.rig, {first});
  const std::vector<float> other = test::score(model.rig, {second});
  apart.insert(apart.end(), other.begin(), other.end());
  const std::vector<float> together = test::score(model.rig, {first, second});
  REQUIRE(together.size() == apart.size());
  for (std::size_t i = 0; i < apart.size(); ++i) CHECK(together[i] == Approx(apart[i]).margin(1e-5));
}

TEST_CASE("a micro batch of nothing runs and changes nothing", "[models][decoder]") {
  LocalModel model(test::tiny_moe());
  const test::StepResult result = test::train_micro_batch(model.rig, {}, 1, {0.5, 0.1});
  CHECK(result.loss == 0);
  CHECK(result.aux == 0);
  CHECK(result.z == 0);
  const auto gradients = model.rig.gradients().flat();
  CHECK(std::all_of(gradients.data, gradients.data + gradients.size(), [](float g) { return g == 0; }));
}

TEST_CASE("router totals count every assignment", "[models][decoder]") {
  LocalModel model(test::tiny_moe());
  test::Packed packed;
  packed.append(random_row(6, 20, 61));
  const models::HostBatch batch(packed.view(), {});
  test::ModelRig::Decoder::Saved saved(model.rig.decoder());
  static_cast<void>(
      model.rig.decoder().forward(batch.view(), test::ModelRig::Decoder::Keep::for_backward, saved));
  models::RouterTotals totals = model.rig.decoder().no_router_totals();
  model.rig.decoder().add_router_totals(model.rig.decoder().router_statistics(saved), 0,
                                        batch.real_tokens().of_micro_batch, totals);
  REQUIRE(totals.expert_tokens.size() == 2);
  for (const auto& layer : totals.expert_tokens) {
    CHECK(std::accumulate(layer.begin(), layer.end(), 0.0) == 20 * 3);
  }
  CHECK(totals.aux >= 2 * 0.9);  // E sum f P is 1 a layer for even routing, more for uneven
  CHECK(totals.z > 0);
}

TEST_CASE("decoding step by step gives the log-probabilities of one pass", "[models][decoder]") {
  for (const auto& config : {test::tiny_moe(), test::tiny_dense()}) {
    LocalModel model(config);
    const std::vector<test::Row> rows{random_row(7, 12, config.vocab), random_row(8, 5, config.vocab)};
    Arena<Space::host> memory("cache");
    auto cache = model.rig.decoder().make_cache(2, 12, memory);
    std::vector<float> logits(std::size_t(2 * config.vocab));
    const std::array prompts{4, 2};
    std::array<std::vector<float>, 2> decoded;
    for (std::size_t step = 0; step < 9; ++step) {
      std::vector<std::vector<std::int32_t>> fed(2);
      for (std::size_t s = 0; s < 2; ++s) {
        const auto& ids = rows[s].ids;
        const std::size_t at = std::size_t(prompts[s]) + step;
        if (at >= ids.size()) continue;
        if (step == 0)
          fed[s].assign(ids.begin(), ids.begin() + prompts[s]);
        else
          fed[s] = {ids[at - 1]};
      }
      model.rig.decoder().decode(fed, cache, {logits.data(), {2, config.vocab}});
      for (std::size_t s = 0; s < 2; ++s) {
        const std::size_t at = std::size_t(prompts[s]) + step;
        if (at >= rows[s].ids.size()) continue;
        const float* row = logits.data() + s * std::size_t(config.vocab);
        double sum = 0;
        for (std::int64_t v = 0; v < config.vocab; ++v) sum += std::exp(double(row[v]));
        decoded[s].push_back(float(double(row[rows[s].ids[at]]) - std::log(sum)));
      }
    }
    for (std::size_t s = 0; s < 2; ++s) {
      test::Row row = rows[s];
      row.labels = row.ids;
      const std::vector<float> whole = test::score(model.rig, {row});
      REQUIRE(decoded[s].size() == row.ids.size() - std::size_t(prompts[s]));
      for (std::size_t i = 0; i < decoded[s].size(); ++i) {
        CHECK(decoded[s][i] == Approx(whole[i + std::size_t(prompts[s]) - 1]).margin(2e-5));
      }
    }
    std::vector<std::vector<std::int32_t>> too_many{{1, 2, 3, 4}, {}};
    CHECK_THROWS_WITH(model.rig.decoder().decode(too_many, cache, {logits.data(), {2, config.vocab}}),
                      "sequence 0 outgrows the cache of 12 tokens");
  }
}

TEST_CASE("a sample longer than the decoder is prepared for is refused", "[models][decoder]") {
  const auto exchange = parallel::make_local_exchange<Space::host>();
  test::ModelRig rig(test::tiny_moe(), *exchange, {.longest = 4});
  CHECK_THROWS_WITH(test::score(rig, {random_row(9, 5, 61)}),
                    "a sample of 5 tokens for a model prepared for 4");
}
