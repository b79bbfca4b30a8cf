#include "optimizer/schedule.h"

#include <cmath>
#include <numbers>

#include "tests/support/catch.h"

using namespace moebius::optimizer;
using moebius::test::Approx;

TEST_CASE("the warmup rises from 0 to the peak", "[optimizer][schedule]") {
  const auto decline = GENERATE(Decline::cosine, Decline::linear, Decline::constant);
  const Schedule schedule{
      .peak = 2e-4, .lowest = 1e-5, .decline = decline, .warmup_fraction = 0.2, .iterations = 20};
  CHECK(learning_rate(schedule, 0) == 0);
  CHECK(learning_rate(schedule, 1) == Approx(0.5e-4));
  CHECK(learning_rate(schedule, 3) == Approx(1.5e-4));
  CHECK(learning_rate(schedule, 4) == Approx(2e-4));
}

TEST_CASE("a warmup that ends between two iterations is not rounded", "[optimizer][schedule]") {
  const Schedule schedule{.peak = 1, .decline = Decline::linear, .warmup_fraction = 0.25, .iterations = 10};
  CHECK(learning_rate(schedule, 2) == Approx(2 / 2.5));
  CHECK(learning_rate(schedule, 3) == Approx(1 - 0.5 / 7.5));
}

TEST_CASE("each decline passes its middle and reaches its end", "[optimizer][schedule]") {
  Schedule schedule{.peak = 3, .lowest = 1, .decline = Decline::cosine, .iterations = 8};
  CHECK(learning_rate(schedule, 0) == 3);
  CHECK(learning_rate(schedule, 2) == Approx(2 + std::cos(std::numbers::pi / 4)));
  CHECK(learning_rate(schedule, 4) == Approx(2));
  CHECK(learning_rate(schedule, 8) == Approx(1));
  CHECK(learning_rate(schedule, 9) == Approx(1));
  schedule.decline = Decline::linear;
  CHECK(learning_rate(schedule, 2) == Approx(2.5));
  CHECK(learning_rate(schedule, 8) == Approx(1));
  schedule.decline = Decline::constant;
  CHECK(learning_rate(schedule, 7) == 3);
}

TEST_CASE("a warmup over all iterations never divides by zero", "[optimizer][schedule]") {
  const Schedule schedule{.peak = 1, .warmup_fraction = 1, .iterations = 4};
  CHECK(learning_rate(schedule, 3) == Approx(0.75));
  CHECK(learning_rate(schedule, 4) == 0);
}
