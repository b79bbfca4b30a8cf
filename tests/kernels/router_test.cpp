#include "kernels/moe/router.h"

#include <cmath>
#include <numeric>

#include "tests/kernels/checks.h"

using namespace moebius;
using namespace moebius::kernels;
using test::Approx;
using test::Tensor;

namespace {

struct Case {
  Tensor<float, 2> logits, probabilities, weights, dweights, dlogits;
  Tensor<float, 1> log_sum_exp, probability_sums, square_sum, aux_gradient;
  Tensor<std::int32_t, 2> ids;
  Tensor<std::int32_t, 1> counts, positions;
  std::int64_t valid_tokens;
  WeightSum weight_sum = WeightSum::sum_to_one;
  Routing routing = Routing::learned;
  float z_coefficient = 0;

  Case(std::int64_t tokens, std::int64_t experts, std::int64_t top_k)
      : logits({tokens, experts}),
        probabilities({tokens, experts}),
        weights({tokens, top_k}),
        dweights({tokens, top_k}),
        dlogits({tokens, experts}),
        log_sum_exp({tokens}),
        probability_sums({experts}),
        square_sum({1}),
        aux_gradient({experts}),
        ids({tokens, top_k}),
        counts({experts}),
        positions({tokens}),
        valid_tokens(tokens) {
    fill_normal(logits, 1), fill_normal(dweights, 2), fill_normal(aux_gradient, 3);
    std::iota(positions.view().data, positions.view().data + tokens, 3);
  }
  RouterForward<Space::host> forward() {
    return {.logits = logits.view(),
            .probabilities = probabilities.view(),
            .log_sum_exp = log_sum_exp.view(),
            .ids = ids.view(),
            .weights = weights.view(),
            .counts = counts.view(),
            .probability_sums = probability_sums.view(),
            .square_sum = square_sum.view(),
            .valid_tokens = valid_tokens,
            .positions = positions.view(),
            .weight_sum = weight_sum,
            .routing = routing};
  }
  RouterBackward<float, Space::host> backward() {
    return {.dweights = dweights.view(),
            .probabilities = probabilities.view(),
            .log_sum_exp = log_sum_exp.view(),
            .ids = ids.view(),
            .aux_gradient = aux_gradient.view(),
            .z_coefficient = z_coefficient,
            .dlogits = dlogits.view(),
            .valid_tokens = valid_tokens,
            .weight_sum = weight_sum};
  }
  /// <dweights, weights> + <aux_gradient, probability_sums> + z_coefficient * square_sum
  double loss() {
    router_forward(forward());
    return dot(dweights, weights) + dot(aux_gradient, probability_sums) +
           double(z_coefficient) * double(square_sum[0]);
  }
};

}  // namespace

TEST_CASE("router takes the largest, the lower id first at a tie", "[kernels][router]") {
  Case host(2, 5, 3);
  const float logits[] = {1, 3, 2, 3, 0, /**/ 0, 0, 0, 0, 0};
  std::copy_n(logits, 10, host.logits.data());
  router_forward(host.forward());
  CHECK(host.ids.values() == std::vector<std::int32_t>{1, 3, 2, 0, 1, 2});
  CHECK(host.counts.values() == std::vector<std::int32_t>{1, 2, 2, 1, 0});
  const double sum = 2 * std::exp(3.0) + std::exp(2.0);
  CHECK(host.weights[0] == Approx(std::exp(3.0) / sum));
  CHECK(host.weights[2] == Approx(std::exp(2.0) / sum));
  host.weight_sum = WeightSum::as_is;
  router_forward(host.forward());
  CHECK(host.weights[2] == Approx(std::exp(2.0) / (sum + std::exp(1.0) + 1)));
  CHECK(host.weights[3] == Approx(0.2));
}

TEST_CASE("router probabilities and statistics follow their definitions", "[kernels][router]") {
  Case host(150, 20, 4);
  host.valid_tokens = 130;
  router_forward(host.forward());
  std::vector<double> sums(20);
  double squares = 0;
  std::int64_t assignments = 0;
  for (std::int64_t t = 0; t < 150; ++t) {
    double total = 0;
    for (std::int64_t e = 0; e < 20; ++e) total += std::exp(double(host.logits.view()(t, e)));
    CHECK(host.log_sum_exp[t] == Approx(std::log(total)));
    for (std::int64_t e = 0; e < 20; ++e) {
      const double p = std::exp(double(host.logits.view()(t, e))) / total;
      CHECK(host.probabilities.view()(t, e) == Approx(p));
      if (t < 130) sums[std::size_t(e)] += p;
    }
    if (t < 130) squares += std::log(total) * std::log(total);
    for (std::int64_t c = 0; c < 4; ++c) {
      const auto id = host.ids.view()(t, c);
      if (t >= 130) CHECK((id == -1 && host.weights.view()(t, c) == 0));
      if (t < 130 && c > 0) {
        CHECK(host.probabilities.view()(t, id) <= host.probabilities.view()(t, host.ids.view()(t, c - 1)));
      }
    }
  }
  for (std::int64_t e = 0; e < 20; ++e) {
    CHECK(host.probability_sums[e] == Approx(sums[std::size_t(e)]));
    assignments += host.counts[e];
  }
  CHECK(host.square_sum[0] == Approx(squares));
  CHECK(assignments == 520);
}

TEST_CASE("even routing sends tokens to experts in turn with the router's weights", "[kernels][router]") {
  Case host(6, 8, 2);
  host.routing = Routing::even;
  router_forward(host.forward());
  CHECK(host.ids.values() == std::vector<std::int32_t>{6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1});
  const auto p = host.probabilities.view();
  CHECK(host.weights.view()(1, 0) == Approx(p(1, 0) / (p(1, 0) + p(1, 1))));
}

TEST_CASE("router gradient matches central differences", "[kernels][router]") {
  for (const WeightSum weight_sum : {WeightSum::sum_to_one, WeightSum::as_is}) {
    for (const Routing routing : {Routing::learned, Routing::even}) {
      Case host(6, 7, 3);
      host.weight_sum = weight_sum;
      host.routing = routing;
      host.valid_tokens = 5;
      host.z_coefficient = 0.3f;
      host.loss();
      router_backward(host.backward());
      // A step of 1e-3 keeps the order of the probabilities.
      check_gradient(
          host.logits, host.dlogits, [&] { return host.loss(); }, 3e-3, 1e-3f);
      for (std::int64_t e = 0; e < 7; ++e) CHECK(host.dlogits.view()(5, e) == 0);
    }
  }
}

TEST_CASE("router statistics do not depend on the number of threads", "[kernels][router]") {
  Case host(500, 16, 2);
  test::check_thread_invariance([&] {
    router_forward(host.forward());
    return std::array{host.probability_sums.values(), host.square_sum.values()};
  });
}

TEST_CASE("router names what does not fit", "[kernels][router]") {
  Case host(4, 6, 2);
  auto op = host.forward();
  op.weights.shape = {4, 3};
  CHECK_THROWS_WITH(router_forward(op), "router.weights: expected [4, 2], got [4, 3]");
  op = host.forward();
  op.positions = {};
  CHECK_NOTHROW(router_forward(op));
  op.routing = Routing::even;
  CHECK_THROWS_WITH(router_forward(op), "router.positions: expected [4], got [0]");
  host.valid_tokens = 5;
  CHECK_THROWS_WITH(router_forward(host.forward()), "router: top_k 2 of 6 experts, 5 valid of 4 tokens");
}
