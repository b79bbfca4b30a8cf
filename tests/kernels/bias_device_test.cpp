#include "kernels/dense/bias.h"
#include "tests/kernels/placed.h"

using namespace moebius;
using namespace moebius::kernels;
using test::kTolerance;
using test::Normal;
using test::Placed;
using test::relative_error;

namespace {

struct Sizes {
  std::int64_t rows, columns, stride;
  std::int64_t offset = 0;  // numbers from aligned addresses
};

/// The bias belongs to the first columns of a wider matrix; the others stay as they are.
template <class T>
void check_forward(Device& gpu, const Sizes& sizes) {
  const Normal<T, 2> y({sizes.rows, sizes.stride}, 1);
  const Normal<T, 1> bias({sizes.columns}, 2);
  const Placed<T, 2> device_y(y, sizes.offset);
  const Placed<T, 1> device_bias(bias, sizes.offset);
  test::make_ready(gpu);
  bias_forward(BiasForward<T, Space::device>{.bias = device_bias.view(),
                                             .y = device_y.matrix().column_block(0, sizes.columns)},
               gpu.queue());
  bias_forward<float>(
      {.bias = bias.view(), .y = Matrix<float, Space::host>(y.view()).column_block(0, sizes.columns)});
  round_to<T>(y);  // one addition, rounded once: the same bits
  CHECK(device_y.template values<float>() == y.values());
}

template <class T, class G>
void check_backward(Device& gpu, const Sizes& sizes, Into into) {
  const Normal<T, 2> dy({sizes.rows, sizes.stride}, 1);
  const Normal<G, 1> dbias({sizes.columns}, 2);
  const Placed<T, 2> device_dy(dy, sizes.offset);
  const Placed<G, 1> device_dbias(dbias.shape());
  const auto before = dbias.values();
  BiasBackward<T, Space::device, G> op{
      .dy = device_dy.matrix().column_block(0, sizes.columns), .dbias = device_dbias.view(), .into = into};
  const auto run = [&] {
    if (into == Into::add) device_dbias.put(before);
    test::make_ready(gpu);
    bias_backward(op, gpu.queue());
    return device_dbias.bits();
  };
  const auto bits = run();
  bias_backward(BiasBackward<float, Space::host>{
      .dy = Matrix<float, Space::host>(dy.view()).column_block(0, sizes.columns),
      .dbias = dbias.view(),
      .into = into});
  CHECK(relative_error(device_dbias.template values<float>(), dbias.values()) < kTolerance<G>);
  CHECK(run() == bits);
}

const Sizes kSizes[] = {{1, 1, 1},        {1, 64, 64},       {300, 33, 40},     {300, 64, 200},
                        {1000, 520, 528}, {70, 128, 128, 1}, {257, 5120, 5120}, {0, 8, 8}};

}  // namespace

TEST_CASE("bias on the device agrees with the host twin", "[kernels][bias][gpu]") {
  Device gpu(0);
  for (const Sizes& sizes : kSizes) {
    CAPTURE(sizes.rows, sizes.columns, sizes.stride, sizes.offset);
    check_forward<float>(gpu, sizes);
    check_forward<bf16>(gpu, sizes);
    for (const Into into : {Into::add, Into::overwrite}) {
      check_backward<float, float>(gpu, sizes, into);
      check_backward<bf16, float>(gpu, sizes, into);
      check_backward<bf16, bf16>(gpu, sizes, into);
    }
  }
}
