#include "kernels/numeric/exp.h"

#include <cmath>
#include <limits>

#include "tests/support/catch.h"

using namespace moebius;
using kernels::fast_exp;

TEST_CASE("fast_exp is within 1.1 ulp of exp", "[kernels][exp]") {
  double worst = 0;
  for (int step = 0; step < 1000000; ++step) {
    const float x = -87.3f + 1.7567e-4f * float(step);
    const double truth = std::exp(double(x));
    worst = std::max(worst, std::fabs(double(fast_exp(x)) - truth) / std::ldexp(1.0, std::ilogb(truth) - 23));
  }
  CHECK(worst < 1.1);
}

TEST_CASE("fast_exp at the ends", "[kernels][exp]") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  CHECK(fast_exp(0) == 1);
  CHECK(fast_exp(-100) == 0);
  CHECK(fast_exp(-infinity) == 0);
  CHECK(fast_exp(89) == infinity);
  CHECK(fast_exp(infinity) == infinity);
  CHECK(std::isnan(fast_exp(std::numeric_limits<float>::quiet_NaN())));
  CHECK(kernels::sigmoid(-200) == 0);
  CHECK(kernels::sigmoid(200) == 1);
}
