#include "kernels/dense/swiglu.h"

#include <cmath>
#include <numeric>

#include "tests/kernels/checks.h"

using namespace moebius;
using namespace moebius::kernels;
using test::Approx;
using test::Tensor;

namespace {

struct Case {
  Tensor<float, 2> gate_up, y, dy, dgate_up;
  Tensor<float, 1> weights, dweights;  // one of them nobody's
  Tensor<std::int32_t, 1> weight_of;   // the last first

  Case(std::int64_t rows, std::int64_t width)
      : gate_up({rows, 2 * width}),
        y({rows, width}),
        dy({rows, width}),
        dgate_up({rows, 2 * width}),
        weights({rows + 1}),
        dweights({rows + 1}),
        weight_of({rows}) {
    fill_normal(gate_up, 1), fill_normal(dy, 2), fill_normal(weights, 3);
    std::iota(weight_of.view().data, weight_of.view().data + rows, 1);
    std::reverse(weight_of.view().data, weight_of.view().data + rows);
  }
  SwigluForward<float, Space::host> forward() {
    return {
        .gate_up = gate_up.view(), .weights = weights.view(), .weight_of = weight_of.view(), .y = y.view()};
  }
  SwigluBackward<float, Space::host> backward() {
    return {.dy = dy.view(),
            .gate_up = gate_up.view(),
            .weights = weights.view(),
            .weight_of = weight_of.view(),
            .dgate_up = dgate_up.view(),
            .dweights = dweights.view()};
  }
  double loss() {
    swiglu_forward(forward());
    return dot(dy, y);
  }
};

}  // namespace

TEST_CASE("swiglu is silu(gate) * up * weight", "[kernels][swiglu]") {
  Case host(3, 21);
  host.loss();
  for (std::int64_t r = 0; r < 3; ++r) {
    for (std::int64_t c = 0; c < 21; ++c) {
      const double gate = double(host.gate_up.view()(r, c)), up = double(host.gate_up.view()(r, 21 + c));
      CHECK(host.y.view()(r, c) ==
            Approx(gate / (1 + std::exp(-gate)) * up * double(host.weights[3 - r])).margin(1e-7));
    }
  }
}

TEST_CASE("swiglu gradient matches central differences", "[kernels][swiglu]") {
  Case host(3, 5);
  host.loss();
  swiglu_backward(host.backward());
  check_gradient(host.gate_up, host.dgate_up, [&] { return host.loss(); });
  check_gradient(host.weights, host.dweights, [&] { return host.loss(); });
}

TEST_CASE("swiglu without weights is that with ones, and works in place", "[kernels][swiglu]") {
  Case host(20, 16);
  test::fill(host.weights, 1.0f);
  host.loss();
  const auto y = host.y.values();
  swiglu_backward(host.backward());
  auto forward = host.forward();
  forward.weights = {};
  swiglu_forward(forward);
  CHECK(host.y.values() == y);
  auto backward = host.backward();
  backward.weights = {};
  backward.dgate_up = host.gate_up.view();
  swiglu_backward(backward);
  CHECK(host.gate_up.values() == host.dgate_up.values());
}

TEST_CASE("swiglu far from zero stays finite", "[kernels][swiglu]") {
  Case host(1, 4);
  for (int c = 0; c < 4; ++c) host.gate_up[c] = c % 2 == 0 ? 1e4f : -1e4f;
  host.loss();
  swiglu_backward(host.backward());
  for (int c = 0; c < 8; ++c) CHECK(std::isfinite(host.dgate_up[c]));
  CHECK(host.y[1] == 0);
}

TEST_CASE("swiglu names the tensor whose shape is wrong", "[kernels][swiglu]") {
  Case host(2, 4);
  auto op = host.forward();
  op.gate_up.shape = {2, 7};
  CHECK_THROWS_WITH(swiglu_forward(op), "swiglu.gate_up: expected [2, 8], got [2, 7]");
}
