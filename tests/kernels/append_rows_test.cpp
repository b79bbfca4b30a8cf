#include "kernels/attention/append_rows.h"

#include "tests/kernels/checks.h"

using namespace moebius;
using namespace moebius::kernels;
using test::Tensor;

TEST_CASE("append_rows puts columns of new tokens into the rows named, and nothing elsewhere",
          "[kernels][append_rows]") {
  Tensor<float, 2> packed({4, 5}), cache({6, 2});
  for (std::int64_t i = 0; i < packed.count(); ++i) packed[i] = float(i + 1);
  Tensor<std::int32_t, 1> rows({4}, {3, -1, 0, 5});
  const auto columns = Matrix<float, Space::host>(packed.view()).column_block(2, 2);
  append_rows<float>({.x = columns, .rows = rows.view(), .cache = cache.view()});
  CHECK(cache.values() == std::vector<float>{13, 14, 0, 0, 0, 0, 3, 4, 0, 0, 18, 19});
}

TEST_CASE("append_rows names the tensor whose shape is wrong", "[kernels][append_rows]") {
  Tensor<float, 2> x({4, 2}), cache({6, 3});
  Tensor<std::int32_t, 1> rows({4});
  CHECK_THROWS_WITH(append_rows<float>({.x = x.view(), .rows = rows.view(), .cache = cache.view()}),
                    "append_rows.cache: expected [6, 2], got [6, 3]");
  CHECK_THROWS_WITH(
      append_rows<float>({.x = x.view(), .rows = rows.view().slice(0, 3), .cache = cache.view()}),
      "append_rows.rows: expected [4], got [3]");
}
