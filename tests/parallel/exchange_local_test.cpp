#include <vector>

#include "parallel/exchange.h"
#include "parallel/fold.h"
#include "tests/support/catch.h"

namespace moebius::parallel {

TEST_CASE("the exchange of one rank copies") {
  const auto exchange = make_local_exchange<Space::host>();
  std::vector<float> x{1, 2, 3, 4}, y(4), z(4);
  const View<float, 1, Space::host> from(x.data(), {4}), to(y.data(), {4});
  exchange->all_gather<float>({Axis::tensor, "test"}, from, to, {});
  CHECK(y == x);
  exchange->reduce_scatter<float>({Axis::tensor, "test"}, from, {z.data(), {4}}, {});
  CHECK(z == x);
  exchange->all_reduce({Axis::data, "test"}, from, Reduction::sum, {});
  CHECK(x == std::vector<float>{1, 2, 3, 4});

  const std::vector<std::int64_t> two{2};
  std::vector<float> moved(4);
  exchange->all_to_all<float>({Axis::expert, "test"}, {View<float, 2, Space::host>(x.data(), {2, 2}), two},
                              {{moved.data(), {2, 2}}, two}, {});
  CHECK(moved == x);
  std::vector<std::int64_t> told(1);
  exchange->swap_counts({Axis::expert, "test"}, two, told);
  CHECK(told == two);
}

TEST_CASE("a fold goes from left to right and may overwrite one of its parts") {
  std::vector<double> a{1e16, 1}, b{1, 2}, c{-1e16, 3};
  const std::vector<const void*> parts{a.data(), b.data(), c.data()};
  fold({parts, b.data(), 2, Dtype::float64, Reduction::sum});
  CHECK(b == std::vector<double>{(1e16 + 1) - 1e16, 6});
  b = {1, 2};
  fold({parts, a.data(), 2, Dtype::float64, Reduction::min});
  CHECK(a == std::vector<double>{-1e16, 1});
  CHECK_THROWS_AS(fold({parts, a.data(), 2, Dtype::float16, Reduction::sum}), std::invalid_argument);
}

}  // namespace moebius::parallel
