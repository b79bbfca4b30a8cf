#include "kernels/update/block_copy.h"

#include "tests/kernels/checks.h"

using namespace moebius;
using namespace moebius::kernels;
using test::Tensor;

TEST_CASE("block_copy moves and adds columns of wider tensors", "[kernels][block_copy]") {
  Tensor<float, 2> x({2, 4}, {1, 2, 3, 4, 5, 6, 7, 8}), y({2, 3}, {10, 20, 30, 40, 50, 60});
  const auto from = Matrix<float, Space::host>(x.view()).column_block(1, 2);
  const auto to = Matrix<float, Space::host>(y.view()).column_block(1, 2);
  block_copy(BlockCopy<float, float, Space::host>{.x = from, .y = to});
  CHECK(y.values() == std::vector<float>{10, 2, 3, 40, 6, 7});
  block_copy(BlockCopy<float, float, Space::host>{.x = from, .y = to, .into = Into::add});
  CHECK(y.values() == std::vector<float>{10, 4, 6, 40, 12, 14});
}

TEST_CASE("block_copy rounds once", "[kernels][block_copy]") {
  Tensor<float, 2> x({1, 2}, {1.00390625f, 0.00390625f});  // 1 + 2^-8: halfway, to the even neighbour
  Tensor<bf16, 2> y({1, 2}, {bf16(0.0f), bf16(1.0f)});
  block_copy(BlockCopy<float, bf16, Space::host>{.x = x.view(), .y = y.view()});
  CHECK(float(y[0]) == 1.0f);
  Tensor<float, 2> sum({1, 2}, {1, 1});
  block_copy(BlockCopy<bf16, float, Space::host>{.x = y.view(), .y = sum.view(), .into = Into::add});
  CHECK(sum[0] == 2.0f);
  CHECK(sum[1] == 1.00390625f);
}

TEST_CASE("block_copy names the tensor whose shape is wrong", "[kernels][block_copy]") {
  Tensor<float, 2> x({4, 2}), y({4, 3});
  CHECK_THROWS_WITH((block_copy(BlockCopy<float, float, Space::host>{.x = x.view(), .y = y.view()})),
                    "block_copy.y: expected [4, 2], got [4, 3]");
}
