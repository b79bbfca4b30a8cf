#include "kernels/update/block_copy.h"
#include "tests/kernels/placed.h"

using namespace moebius;
using namespace moebius::kernels;
using test::Normal;
using test::Placed;

namespace {

struct Sizes {
  std::int64_t rows, columns, begin;  // begin: columns before those that move
};

template <class From, class To>
void check_case(Device& gpu, const Sizes& sizes, Into into) {
  CAPTURE(sizes.rows, sizes.columns, sizes.begin, sizeof(From), sizeof(To), int(into));
  const Normal<From, 2> x({sizes.rows, sizes.columns + sizes.begin + 8}, 1);
  const Normal<To, 2> y({sizes.rows, sizes.columns}, 2);
  const Placed<From, 2> device_x(x);
  const Placed<To, 2> device_y(y);
  test::make_ready(gpu);
  block_copy(BlockCopy<float, float, Space::host>{
      .x = Matrix<float, Space::host>(x.view()).column_block(sizes.begin, sizes.columns),
      .y = y.view(),
      .into = into});
  test::round_to<To>(y);
  block_copy(
      BlockCopy<From, To, Space::device>{.x = device_x.matrix().column_block(sizes.begin, sizes.columns),
                                         .y = device_y.view(),
                                         .into = into},
      gpu.queue());
  CHECK(device_y.template values<float>() == y.values());
}

}  // namespace

TEST_CASE("block_copy on the device agrees with the host twin", "[kernels][block_copy][gpu]") {
  Device gpu(0);
  for (const Sizes& sizes :
       {Sizes{1, 1, 0}, Sizes{37, 512, 64}, Sizes{37, 128, 3}, Sizes{9, 33, 0}, Sizes{0, 8, 0}}) {
    for (const Into into : {Into::overwrite, Into::add}) {
      check_case<float, float>(gpu, sizes, into);
      check_case<float, bf16>(gpu, sizes, into);
      check_case<bf16, float>(gpu, sizes, into);
      check_case<bf16, bf16>(gpu, sizes, into);
    }
  }
}
