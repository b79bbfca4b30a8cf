#include "layers/lm_head.h"

#include <cmath>
#include <numeric>

#include "tests/support/catch.h"
#include "tests/support/tensors.h"

using namespace moebius;
using test::Approx;

namespace {

constexpr std::int64_t kTokens = 200, kHidden = 5, kVocab = 11;

/// Every token but each fourth predicts something.
struct Case {
  Case() {
    test::fill_normal(hidden, 1);
    test::fill_normal(weight, 2);
    for (std::int32_t t = 0; t < kTokens; ++t) {
      entry_of.push_back(t % 4 == 3 ? -1 : std::int32_t(rows.size()));
      if (t % 4 == 3) continue;
      rows.push_back(t);
      ids.push_back(std::int32_t(std::int64_t{t} * 5 % kVocab));
      weights.push_back(0.1f * float(t % 3));
    }
    log_probabilities.resize(rows.size());
  }
  [[nodiscard]] std::int64_t count() const { return std::int64_t(rows.size()); }
  [[nodiscard]] layers::Targets<Space::host> targets() const {
    return {{rows.data(), {count()}}, {ids.data(), {count()}}, {entry_of.data(), {kTokens}}};
  }
  [[nodiscard]] layers::LmHead<HostFp32> head(std::int64_t bytes) const {
    return {.name = "lm_head", .weight = weight.view(), .logits_bytes = bytes};
  }
  void run(std::int64_t bytes) {
    test::fill(dweight, 0.0f);
    head(bytes).loss(hidden.view(), targets(),
                     {.weights = {weights.data(), {count()}},
                      .log_probabilities = {log_probabilities.data(), {count()}},
                      .dhidden = dhidden.view(),
                      .dweight = dweight.view()},
                     context);
  }
  double loss() {
    head(1 << 20).log_probabilities(hidden.view(), targets(), {log_probabilities.data(), {count()}}, context);
    return -std::inner_product(weights.begin(), weights.end(), log_probabilities.begin(), 0.0);
  }

  std::unique_ptr<parallel::Exchange<Space::host>> exchange = parallel::make_local_exchange<Space::host>();
  Arena<Space::host> activations{"activations"}, workspace{"workspace"};
  Staging<Space::host> staging{"staging"};
  layers::Context<HostFp32> context{*exchange, activations, activations, workspace, staging, {}};
  test::Tensor<float, 2> hidden{{kTokens, kHidden}}, weight{{kVocab, kHidden}};
  test::Tensor<float, 2> dhidden{{kTokens, kHidden}}, dweight{{kVocab, kHidden}};
  std::vector<std::int32_t> rows, ids, entry_of;
  std::vector<float> weights, log_probabilities;
};

}  // namespace

TEST_CASE("log-probabilities of the head are those of a softmax over all logits", "[layers][lm_head]") {
  Case c;
  c.run(1);
  for (std::int64_t i = 0; i < c.count(); ++i) {
    const std::int64_t token = c.rows[std::size_t(i)];
    std::vector<double> logits(kVocab, 0);
    double sum = 0;
    for (std::int64_t v = 0; v < kVocab; ++v) {
      for (std::int64_t h = 0; h < kHidden; ++h) {
        logits[std::size_t(v)] += double(c.hidden[token * kHidden + h]) * double(c.weight[v * kHidden + h]);
      }
      sum += std::exp(logits[std::size_t(v)]);
    }
    const double expected = logits[std::size_t(c.ids[std::size_t(i)])] - std::log(sum);
    CHECK(c.log_probabilities[std::size_t(i)] == Approx(expected).margin(1e-5));
  }
}

TEST_CASE("the head's answer does not depend on its chunks", "[layers][lm_head]") {
  REQUIRE(layers::LmHead<HostFp32>::chunk_targets(kVocab, 1) == 64);  // 150 targets: 3 chunks
  Case chunked, whole;
  chunked.run(1), whole.run(1 << 20);
  CHECK(chunked.log_probabilities == whole.log_probabilities);
  for (std::int64_t i = 0; i < whole.dhidden.count(); ++i) {
    REQUIRE(chunked.dhidden[i] == Approx(whole.dhidden[i]).margin(1e-6));
  }
  for (std::int64_t i = 0; i < whole.dweight.count(); ++i) {
    REQUIRE(chunked.dweight[i] == Approx(whole.dweight[i]).margin(1e-5));
  }
  CHECK(chunked.workspace.peak_bytes() < whole.workspace.peak_bytes());
}

TEST_CASE("gradients of the head match central differences", "[layers][lm_head]") {
  Case c;
  c.run(1);
  const auto slope = [&](float& input) {
    const float saved = input, step = 1e-2f;
    input = saved + step;
    const double above = c.loss();
    input = saved - step;
    const double below = c.loss();
    input = saved;
    return (above - below) / (2 * double(step));
  };
  for (std::int64_t i = 0; i < c.dweight.count(); i += 3) {
    CHECK(c.dweight[i] == Approx(slope(c.weight[i])).margin(2e-3));
  }
  for (std::int64_t i = 0; i < c.dhidden.count(); i += 17) {
    CHECK(c.dhidden[i] == Approx(slope(c.hidden[i])).margin(1e-3));
  }
  for (std::int64_t h = 0; h < kHidden; ++h) CHECK(c.dhidden[3 * kHidden + h] == 0);  // predicts nothing
}
