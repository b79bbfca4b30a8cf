#include "layers/moe.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/support/catch.h"
#include "tests/support/tensors.h"

using namespace moebius;
using test::Approx;

namespace {

constexpr std::int64_t kTokens = 9, kReal = 7, kHidden = 6, kWidth = 4, kExperts = 5, kTopK = 2;

struct Case {
  explicit Case(kernels::WeightSum sum, kernels::Routing routing = kernels::Routing::learned)
      : moe{.name = "moe",
            .top_k = kTopK,
            .weight_sum = sum,
            .routing = routing,
            .weights = {router.view(), {gate_up.view(), down.view()}}} {
    test::fill_normal(x, 1), test::fill_normal(router, 2), test::fill_normal(gate_up, 3, 0.5f);
    test::fill_normal(down, 4, 0.5f);
    saved.statistics = statistics.view();
    std::iota(positions.view().data, positions.view().data + kTokens, 0);
    moe.forward({x.view(), positions.view(), {.here = kReal, .of_micro_batch = kReal}}, y.view(), saved,
                context);
  }

  std::unique_ptr<parallel::Exchange<Space::host>> exchange = parallel::make_local_exchange<Space::host>();
  Arena<Space::host> activations{"activations"}, workspace{"workspace"};
  Staging<Space::host> staging{"staging"};
  layers::Context<HostFp32> context{*exchange, activations, activations, workspace, staging, {}};
  test::Tensor<float, 1> statistics{{layers::Moe<HostFp32>::statistics_size(kExperts)}};
  test::Tensor<std::int32_t, 1> positions{{kTokens}};
  test::Tensor<float, 2> x{{kTokens, kHidden}}, y{{kTokens, kHidden}}, router{{kExperts, kHidden}};
  test::Tensor<float, 3> gate_up{{kExperts, 2 * kWidth, kHidden}}, down{{kExperts, kHidden, kWidth}};
  layers::Moe<HostFp32> moe;
  layers::Moe<HostFp32>::Saved saved;
};

std::vector<double> probabilities_of(const Case& c, std::int64_t token) {
  std::vector<double> p(kExperts, 0);
  for (std::int64_t e = 0; e < kExperts; ++e) {
    for (std::int64_t h = 0; h < kHidden; ++h) {
      p[std::size_t(e)] += double(c.x[token * kHidden + h]) * double(c.router[e * kHidden + h]);
    }
    p[std::size_t(e)] = std::exp(p[std::size_t(e)]);
  }
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& value : p) value /= sum;
  return p;
}

/// One token through one expert, by the definition.
std::vector<double> expert(const Case& c, std::int64_t token, std::int64_t e) {
  std::vector<double> out(kHidden, 0);
  for (std::int64_t w = 0; w < kWidth; ++w) {
    double gate = 0, up = 0;
    for (std::int64_t h = 0; h < kHidden; ++h) {
      const double input = double(c.x[token * kHidden + h]);
      gate += input * double(c.gate_up[(e * 2 * kWidth + w) * kHidden + h]);
      up += input * double(c.gate_up[(e * 2 * kWidth + kWidth + w) * kHidden + h]);
    }
    const double active = gate / (1 + std::exp(-gate)) * up;
    for (std::int64_t h = 0; h < kHidden; ++h) {
      out[std::size_t(h)] += active * double(c.down[(e * kHidden + h) * kWidth + w]);
    }
  }
  return out;
}

void check_against_definition(const Case& c, bool normalised) {
  for (std::int64_t token = 0; token < kReal; ++token) {
    const std::vector<double> p = probabilities_of(c, token);
    std::vector<std::int64_t> order(kExperts);
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, [&](auto a, auto b) { return p[std::size_t(a)] > p[std::size_t(b)]; });
    const double chosen = p[std::size_t(order[0])] + p[std::size_t(order[1])];
    std::vector<double> expected(kHidden, 0);
    for (std::int64_t k = 0; k < kTopK; ++k) {
      const double weight = p[std::size_t(order[std::size_t(k)])] / (normalised ? chosen : 1);
      const std::vector<double> out = expert(c, token, order[std::size_t(k)]);
      for (std::size_t h = 0; h < expected.size(); ++h) expected[h] += weight * out[h];
    }
    for (std::int64_t h = 0; h < kHidden; ++h) {
      CHECK(c.y[token * kHidden + h] == Approx(expected[std::size_t(h)]).margin(1e-5));
    }
  }
}

}  // namespace

TEST_CASE("a mixture of experts is the weighted sum of the chosen ones", "[layers][moe]") {
  check_against_definition(Case(kernels::WeightSum::sum_to_one), true);
  check_against_definition(Case(kernels::WeightSum::as_is), false);
}

TEST_CASE("padding goes to no expert and comes out as zeros", "[layers][moe]") {
  const Case c(kernels::WeightSum::sum_to_one);
  for (std::int64_t i = kReal * kHidden; i < kTokens * kHidden; ++i) CHECK(c.y[i] == 0);
  CHECK(c.saved.experts.front().experts.rows.shape[0] == kReal * kTopK);
  const layers::RouterReport report =
      layers::report(c.saved.statistics, c.saved.real_tokens.of_micro_batch, kTopK);
  CHECK(std::accumulate(report.expert_tokens.begin(), report.expert_tokens.end(), 0.0) == kReal * kTopK);
}

TEST_CASE("auxiliary losses are those of the definition", "[layers][moe]") {
  const Case c(kernels::WeightSum::sum_to_one);
  const layers::RouterReport report =
      layers::report(c.saved.statistics, c.saved.real_tokens.of_micro_batch, kTopK);
  double aux = 0, z = 0;
  for (std::int64_t e = 0; e < kExperts; ++e) {
    double mean = 0;
    for (std::int64_t t = 0; t < kReal; ++t) mean += probabilities_of(c, t)[std::size_t(e)] / kReal;
    aux += kExperts * report.expert_tokens[std::size_t(e)] / (kReal * kTopK) * mean;
  }
  for (std::int64_t t = 0; t < kReal; ++t) {
    double sum = 0;
    for (std::int64_t e = 0; e < kExperts; ++e) {
      double logit = 0;
      for (std::int64_t h = 0; h < kHidden; ++h) {
        logit += double(c.x[t * kHidden + h]) * double(c.router[e * kHidden + h]);
      }
      sum += std::exp(logit);
    }
    z += std::log(sum) * std::log(sum) / kReal;
  }
  CHECK(report.aux == Approx(aux).epsilon(1e-5));
  CHECK(report.z == Approx(z).epsilon(1e-5));
}

TEST_CASE("even routing loads experts in turn", "[layers][moe]") {
  const Case c(kernels::WeightSum::as_is, kernels::Routing::even);
  const layers::RouterReport report =
      layers::report(c.saved.statistics, c.saved.real_tokens.of_micro_batch, kTopK);
  CHECK(report.expert_tokens == std::vector<double>{3, 3, 3, 3, 2});  // 14 assignments to 5 experts
}
