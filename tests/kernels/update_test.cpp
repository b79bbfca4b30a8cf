#include <bit>
#include <cmath>
#include <limits>

#include "kernels/update/adamw.h"
#include "kernels/update/clip.h"
#include "kernels/update/elementwise.h"
#include "kernels/update/fill_normal.h"
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
  AdamW<float, float, float, Space::host> op(std::int64_t step) {
    return {.w = w.view(),
            .g = g.view(),
            .m = m.view(),
            .v = v.view(),
            .master = {},
            .remainder = {},
            .gradient_scale = {},
            .lr = 1e-2,
            .beta1 = 0.9,
            .beta2 = 0.95,
            .epsilon = 1e-8,
            .weight_decay = 0.1,
            .step = step};
  }
};

/// Weights in bf16 with the same start as Case's, whose fp32 value is kept beside them.
struct BfCase {
  Tensor<bf16, 1> w;
  Tensor<float, 1> master;
  Tensor<std::int16_t, 1> remainder;
  Case rest;

  explicit BfCase(std::int64_t count) : w({count}), master({count}), remainder({count}), rest(count) {
    for (std::int64_t i = 0; i < count; ++i) {
      w[i] = bf16(rest.w[i]);
      master[i] = float(w[i]);
    }
  }
  /// The remainders are zeros at first: the fp32 values are those of w.
  AdamW<bf16, float, float, Space::host> op(std::int64_t step) {
    const auto like = rest.op(step);
    return {.w = w.view(),
            .g = like.g,
            .m = like.m,
            .v = like.v,
            .master = {},
            .remainder = {},
            .gradient_scale = {},
            .lr = like.lr,
            .beta1 = like.beta1,
            .beta2 = like.beta2,
            .epsilon = like.epsilon,
            .weight_decay = like.weight_decay,
            .step = step};
  }
  [[nodiscard]] float with_remainder(std::int64_t i) const {
    return std::bit_cast<float>((std::uint32_t{w[i].bits} << 16) + std::uint32_t(std::int32_t{remainder[i]}));
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

TEST_CASE("adamw is the same on any number of threads", "[kernels][adamw]") {
  Case host(50000);
  test::check_thread_invariance([&] {
    fill_normal(host.w, 1), fill_normal(host.g, 2);
    test::fill(host.m, 0.0f), test::fill(host.v, 0.0f);
    adamw(host.op(1));
    return std::array{host.w.values(), host.m.values(), host.v.values()};
  });
}

TEST_CASE("adamw keeps the fp32 value of bf16 weights, in a master or as a remainder, bit for bit",
          "[kernels][adamw]") {
  constexpr std::int64_t kCount = 1000;
  Case whole(kCount);
  BfCase with_master(kCount), with_remainder(kCount);
  for (std::int64_t i = 0; i < kCount; ++i) whole.w[i] = with_master.master[i];
  for (int step = 1; step <= 20; ++step) {
    adamw(whole.op(step));
    auto op = with_master.op(step);
    op.master = with_master.master.view();
    adamw(op);
    op = with_remainder.op(step);
    op.remainder = with_remainder.remainder.view();
    adamw(op);
    for (std::int64_t i = 0; i < kCount; ++i) {
      REQUIRE(with_master.master[i] == whole.w[i]);
      REQUIRE(with_master.w[i].bits == bf16(whole.w[i]).bits);
      REQUIRE(with_remainder.with_remainder(i) == whole.w[i]);
      const float distance = std::abs(float(with_remainder.w[i]) - whole.w[i]);
      REQUIRE(distance <= std::abs(float(with_master.w[i]) - whole.w[i]));  // the nearest bf16 too
    }
  }
}

TEST_CASE("adamw without either rounds the weight itself", "[kernels][adamw]") {
  BfCase half(100);
  Case whole(100);
  for (std::int64_t i = 0; i < 100; ++i) whole.w[i] = float(half.w[i]);
  adamw(half.op(1));
  adamw(whole.op(1));
  for (std::int64_t i = 0; i < 100; ++i) CHECK(half.w[i].bits == bf16(whole.w[i]).bits);
}

TEST_CASE("adamw with bf16 gradients and moments rounds them alone", "[kernels][adamw]") {
  constexpr std::int64_t kCount = 100;
  BfCase half(kCount);
  Case whole(kCount);
  Tensor<bf16, 1> g({kCount}), m({kCount}), v({kCount});
  cast<float, bf16>({.x = whole.g.view(), .y = g.view()});
  cast<bf16, float>({.x = g.view(), .y = whole.g.view()});
  cast<bf16, float>({.x = half.w.view(), .y = whole.w.view()});
  adamw(AdamW<bf16, bf16, bf16, Space::host>{.w = half.w.view(),
                                             .g = g.view(),
                                             .m = m.view(),
                                             .v = v.view(),
                                             .master = half.master.view(),
                                             .remainder = {},
                                             .gradient_scale = {},
                                             .lr = 1e-2,
                                             .beta1 = 0.9,
                                             .beta2 = 0.95,
                                             .epsilon = 1e-8,
                                             .weight_decay = 0.1,
                                             .step = 1});
  adamw(whole.op(1));
  CHECK(half.master.values() == whole.w.values());
  for (std::int64_t i = 0; i < kCount; ++i) {
    CHECK(m[i].bits == bf16(whole.m[i]).bits);
    CHECK(v[i].bits == bf16(whole.v[i]).bits);
  }
}

TEST_CASE("adamw changes nothing where the gradient's scale is not finite", "[kernels][adamw]") {
  Case host(50);
  adamw(host.op(1));
  const auto before = std::array{host.w.values(), host.m.values(), host.v.values()};
  Tensor<float, 1> scale({1});
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    scale[0] = bad;
    auto op = host.op(2);
    op.gradient_scale = scale.view();
    adamw(op);
  }
  CHECK(std::array{host.w.values(), host.m.values(), host.v.values()} == before);
}

TEST_CASE("adamw names the tensor whose shape is wrong", "[kernels][adamw]") {
  Case host(8);
  auto op = host.op(1);
  op.v.shape = {7};
  CHECK_THROWS_WITH(adamw(op), "adamw.v: expected [8], got [7]");
}

TEST_CASE("clip_scale is the gradient's scale, reduced to the length allowed", "[kernels][clip]") {
  Tensor<double, 1> square({1}, {16});
  Tensor<float, 1> scale({1});
  const auto of = [&](double gradient_scale, double clip_norm) {
    clip_scale({.sum_of_squares = square.view(),
                .gradient_scale = gradient_scale,
                .clip_norm = clip_norm,
                .scale = scale.view()});
    return scale[0];
  };
  CHECK(of(0.5, 0) == 0.5f);                           // no clipping
  CHECK(of(0.5, 3) == 0.5f);                           // the norm, 2, is allowed
  CHECK(of(0.5, 1) == float(0.5 * (1 / (2 + 1e-6))));  // it is not
  CHECK(of(1, 1) == float(1 / (4 + 1e-6)));
  square[0] = std::numeric_limits<double>::infinity();
  CHECK(std::isnan(of(1, 1)));
  square[0] = std::numeric_limits<double>::quiet_NaN();
  CHECK(std::isnan(of(1, 0)));
  CHECK_THROWS_WITH(clip_scale({.sum_of_squares = square.view(),
                                .gradient_scale = 1,
                                .clip_norm = 1,
                                .scale = View<float, 1, Space::host>(scale.data(), {2})}),
                    "clip.scale: expected [1], got [2]");
}

TEST_CASE("fill_normal depends on the place in the whole tensor alone", "[kernels][update]") {
  Tensor<float, 1> whole({1000}), part({300});
  Tensor<bf16, 1> half({300});
  const auto op = [](auto y, std::int64_t first_index) {
    return FillNormal<std::remove_pointer_t<decltype(y.data)>, Space::host>{
        .y = y,
        .seed = 7,
        .stream = RandomStream::initialisation,
        .tensor = tensor_id("a"),
        .first_index = first_index,
        .deviation = 0.02};
  };
  fill_normal(op(whole.view(), 0)), fill_normal(op(part.view(), 500)), fill_normal(op(half.view(), 500));
  const Random random{7, RandomStream::initialisation, tensor_id("a")};
  double square = 0;
  for (std::int64_t i = 0; i < 1000; ++i) {
    REQUIRE(whole[i] == float(0.02 * random.normal(std::uint64_t(i))));
    square += double(whole[i]) * double(whole[i]);
  }
  CHECK(std::sqrt(square / 1000) == Approx(0.02).epsilon(0.1));
  for (std::int64_t i = 0; i < 300; ++i) {
    REQUIRE(part[i] == whole[500 + i]);
    REQUIRE(half[i].bits == bf16(part[i]).bits);
  }
}

TEST_CASE("sum_of_squares is added in a fixed order", "[kernels][update]") {
  Tensor<float, 1> x({100001});
  fill_normal(x, 1);
  Tensor<double, 1> sum({1}, {2.0});
  double expected = 2;
  for (std::int64_t i = 0; i < x.count(); ++i) expected += double(x[i]) * double(x[i]);
  sum_of_squares<float>({.x = x.view(), .sum = sum.view()});
  CHECK(sum[0] == Approx(expected).epsilon(1e-12));
  test::check_thread_invariance([&] {
    sum[0] = 0;
    sum_of_squares<float>({.x = x.view(), .sum = sum.view()});
    return sum[0];
  });
  CHECK_THROWS_WITH(
      sum_of_squares<float>({.x = x.view(), .sum = View<double, 1, Space::host>(sum.data(), {2})}),
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
  fill(half.view(), bf16(0.3f));
  Tensor<std::int32_t, 1> counts({20000});
  for (std::int64_t i = 0; i < 20000; ++i) counts[i] = std::int32_t(i * 12345);
  cast<std::int32_t, float>({.x = counts.view(), .y = y.view()});
  for (std::int64_t i = 0; i < 20000; ++i) {
    REQUIRE(half[i].bits == bf16(0.3f).bits);
    REQUIRE(y[i] == float(counts[i]));
  }
  CHECK_THROWS_WITH(add<float>({.a = a.view().slice(0, 3), .b = b.view(), .y = y.view()}),
                    "add.a: expected [20000], got [3]");
}
