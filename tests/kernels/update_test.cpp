#include <cmath>

#include "kernels/update/adamw.h"
#include "kernels/update/elementwise.h"
#include "kernels/update/sum_of_squares.h"
#include "tests/kernels/checks.h"

using namespace moebius;
using namespace moebius::kernels;
using test::Approx;
using test::Tensor;

namespace {

struct Case {
  Tensor<float, 1> w, g, m, v;

  explicit Case(std::int64_t count) : w({count}), g({count}), m({count}), v({count}) {
    fill_normal(w, 1), fill_normal(g, 2);
  }
  AdamW<Space::host> op(std::int64_t step) {
    return {.w = w.view(),
            .g = g.view(),
            .m = m.view(),
            .v = v.view(),
            .gradient_scale = {},
            .lr = 1e-2,
            .beta1 = 0.9,
            .beta2 = 0.95,
            .epsilon = 1e-8,
            .weight_decay = 0.1,
            .step = step,
            .gradient_after = GradientAfter::keep};
  }
};

}  // namespace

TEST_CASE("adamw follows its formula over 20 steps", "[kernels][adamw]") {
  Case host(37);
  Tensor<float, 1> scale({1}, {0.5f});
  for (std::int64_t i = 0; i < 37; ++i) {
    double w = double(host.w[i]), m = 0, v = 0;
    const double g = 0.5 * double(host.g[i]);
    for (int step = 1; step <= 20; ++step) {
      w -= 1e-2 * 0.1 * w;
      m = 0.9 * m + 0.1 * g;
      v = 0.95 * v + 0.05 * g * g;
      w -= 1e-2 / (1 - std::pow(0.9, step)) * m / (std::sqrt(v) / std::sqrt(1 - std::pow(0.95, step)) + 1e-8);
    }
    Case one(1);
    one.w[0] = host.w[i], one.g[0] = host.g[i];
    for (int step = 1; step <= 20; ++step) {
      auto op = one.op(step);
      op.gradient_scale = scale.view();
      adamw(op);
    }
    CHECK(one.w[0] == Approx(w).epsilon(2e-6).margin(1e-7));
    CHECK(one.m[0] == Approx(m).epsilon(2e-6));
    CHECK(one.v[0] == Approx(v).epsilon(2e-6));
  }
}

TEST_CASE("adamw's first step has the length of the learning rate", "[kernels][adamw]") {
  Case host(3);
  auto op = host.op(1);
  op.weight_decay = 0;
  const auto before = host.w.values();
  adamw(op);
  for (std::int64_t i = 0; i < 3; ++i) {
    CHECK(before[std::size_t(i)] - host.w[i] == Approx(std::copysign(1e-2, double(host.g[i]))).epsilon(1e-4));
  }
}

TEST_CASE("adamw clears the gradient when asked, and is the same on any number of threads",
          "[kernels][adamw]") {
  Case host(50000);
  test::check_thread_invariance([&] {
    fill_normal(host.w, 1), fill_normal(host.g, 2);
    test::fill(host.m, 0.0f), test::fill(host.v, 0.0f);
    auto op = host.op(1);
    op.gradient_after = GradientAfter::clear;
    adamw(op);
    return std::array{host.w.values(), host.g.values()};
  });
  for (std::int64_t i = 0; i < 50000; ++i) REQUIRE(host.g[i] == 0);
}

TEST_CASE("adamw names the tensor whose shape is wrong", "[kernels][adamw]") {
  Case host(8);
  auto op = host.op(1);
  op.v.shape = {7};
  CHECK_THROWS_WITH(adamw(op), "adamw.v: expected [8], got [7]");
}

TEST_CASE("sum_of_squares is added in a fixed order", "[kernels][update]") {
  Tensor<float, 1> x({100001});
  fill_normal(x, 1);
  Tensor<double, 1> sum({1}, {2.0});
  double expected = 2;
  for (std::int64_t i = 0; i < x.count(); ++i) expected += double(x[i]) * double(x[i]);
  sum_of_squares({.x = x.view(), .sum = sum.view()});
  CHECK(sum[0] == Approx(expected).epsilon(1e-12));
  test::check_thread_invariance([&] {
    sum[0] = 0;
    sum_of_squares({.x = x.view(), .sum = sum.view()});
    return sum[0];
  });
  CHECK_THROWS_WITH(sum_of_squares({.x = x.view(), .sum = View<double, 1, Space::host>(sum.data(), {2})}),
                    "sum_of_squares.sum: expected [1], got [2]");
}

TEST_CASE("fill, copy, scale, add and cast", "[kernels][update]") {
  Tensor<float, 1> a({20000}), b({20000}), y({20000});
  Tensor<bf16, 1> half({20000});
  fill_normal(a, 1);
  fill(b.view(), 2.0f);
  scale(b.view(), 1.5f);
  add<float>({.a = a.view(), .b = b.view(), .y = y.view(), .factor = 2});
  cast<float, bf16>({.x = a.view(), .y = half.view()});
  for (std::int64_t i = 0; i < 20000; ++i) {
    REQUIRE(b[i] == 3);
    REQUIRE(y[i] == a[i] + 6);
    REQUIRE(half[i].bits == bf16(a[i]).bits);
  }
  copy<float>(a.view(), y.view());
  CHECK(y.values() == a.values());
  cast<bf16, float>({.x = half.view(), .y = y.view()});
  for (std::int64_t i = 0; i < 20000; ++i) REQUIRE(y[i] == float(half[i]));
  CHECK_THROWS_WITH(add<float>({.a = a.view().slice(0, 3), .b = b.view(), .y = y.view()}),
                    "add.a: expected [20000], got [3]");
}
