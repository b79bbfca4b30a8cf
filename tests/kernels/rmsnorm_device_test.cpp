#include "kernels/norm/rmsnorm.h"
#include "tests/kernels/placed.h"

using namespace moebius;
using namespace moebius::kernels;
using test::kTolerance;
using test::Normal;
using test::Placed;
using test::relative_error;
using test::Tensor;

namespace {

/// Inputs and what the host twins, in fp32, make of them.
template <class T, class G>
struct Host {
  Normal<T, 2> x, delta, dy, add;
  Normal<T, 1> gain;
  Normal<G, 1> dgain;
  Tensor<float, 2> y, sum, sum_y, dx;
  Tensor<float, 1> inv_rms, sum_inv_rms;

  Host(std::int64_t tokens, std::int64_t hidden)
      : x({tokens, hidden}, 1),
        delta({tokens, hidden}, 2),
        dy({tokens, hidden}, 3),
        add({tokens, hidden}, 4),
        gain({hidden}, 5),
        dgain({hidden}, 6),
        y({tokens, hidden}),
        sum({tokens, hidden}),
        sum_y({tokens, hidden}),
        dx({tokens, hidden}),
        inv_rms({tokens}),
        sum_inv_rms({tokens}) {
    rmsnorm_forward<float>({.x = x.view(), .gain = gain.view(), .y = y.view(), .inv_rms = inv_rms.view()});
    add_rmsnorm_forward<float>({.x = x.view(),
                                .delta = delta.view(),
                                .gain = gain.view(),
                                .sum = sum.view(),
                                .y = sum_y.view(),
                                .inv_rms = sum_inv_rms.view()});
  }
  void backward(bool adds, Into into) {
    rmsnorm_backward(RmsNormBackward<float, Space::host>{
        .dy = dy.view(),
        .x = x.view(),
        .gain = gain.view(),
        .inv_rms = inv_rms.view(),
        .add = adds ? View<const float, 2, Space::host>(add.view()) : View<const float, 2, Space::host>(),
        .dx = dx.view(),
        .dgain = dgain.view(),
        .into = into});
  }
};

template <class T, class G>
void check_forward(Device& gpu, const Host<T, G>& host, std::int64_t offset) {
  const Placed<T, 2> x(host.x, offset), delta(host.delta, offset), y(host.x.shape(), offset),
      sum(host.x.shape(), offset);
  const Placed<T, 1> gain(host.gain, offset);
  const Placed<float, 1> inv_rms(host.inv_rms.shape());
  test::make_ready(gpu);
  rmsnorm_forward(
      RmsNormForward<T, Space::device>{
          .x = x.view(), .gain = gain.view(), .y = y.view(), .inv_rms = inv_rms.view()},
      gpu.queue());
  CHECK(relative_error(y.template values<float>(), host.y.values()) < kTolerance<T>);
  CHECK(relative_error(inv_rms.values(), host.inv_rms.values()) < 1e-5);
  AddRmsNormForward<T, Space::device> op{.x = x.view(),
                                         .delta = delta.view(),
                                         .gain = gain.view(),
                                         .sum = sum.view(),
                                         .y = y.view(),
                                         .inv_rms = inv_rms.view()};
  y.poison(), inv_rms.poison();
  test::make_ready(gpu);
  add_rmsnorm_forward(op, gpu.queue());
  CHECK(relative_error(sum.template values<float>(), host.sum.values()) < kTolerance<T>);
  CHECK(relative_error(y.template values<float>(), host.sum_y.values()) < kTolerance<T>);
  CHECK(relative_error(inv_rms.values(), host.sum_inv_rms.values()) < kTolerance<T>);
  op.sum = x.view(), op.y = delta.view();  // in place
  add_rmsnorm_forward(op, gpu.queue());
  CHECK(x.bits() == sum.bits());
  CHECK(delta.bits() == y.bits());
}

template <class T, class G>
void check_backward(Device& gpu, Host<T, G>& host, std::int64_t offset, bool adds) {
  const Into into = adds ? Into::add : Into::overwrite;
  const Placed<T, 2> x(host.x, offset), dy(host.dy, offset), add(host.add, offset),
      dx(host.x.shape(), offset);
  const Placed<T, 1> gain(host.gain, offset);
  const Placed<float, 1> inv_rms(host.inv_rms);
  const Placed<G, 1> dgain(host.dgain.shape(), offset);
  const std::vector<float> dgain_before = host.dgain.values();
  if (adds) dgain.put(dgain_before);
  RmsNormBackward<T, Space::device, G> op{.dy = dy.view(),
                                          .x = x.view(),
                                          .gain = gain.view(),
                                          .inv_rms = inv_rms.view(),
                                          .add = {},
                                          .dx = dx.view(),
                                          .dgain = dgain.view(),
                                          .into = into};
  if (adds) op.add = add.view();
  test::make_ready(gpu);
  rmsnorm_backward(op, gpu.queue());
  host.backward(adds, into);
  CHECK(relative_error(dx.template values<float>(), host.dx.values()) < kTolerance<T>);
  CHECK(relative_error(dgain.template values<float>(), host.dgain.values()) < kTolerance<G>);
  const auto bits = dgain.bits();
  if (adds) dgain.put(dgain_before);
  op.dx = adds ? add.view() : dy.view();  // in place, and the same bits once more
  test::make_ready(gpu);
  rmsnorm_backward(op, gpu.queue());
  CHECK((adds ? add : dy).bits() == dx.bits());
  CHECK(dgain.bits() == bits);
}

template <class T, class G>
void check_sizes(Device& gpu) {
  struct Sizes {
    std::int64_t tokens, hidden, offset;
  };
  for (const Sizes sizes :
       {Sizes{1, 1, 0}, Sizes{5, 31, 0}, Sizes{1, 64, 0}, Sizes{67, 64, 1}, Sizes{67, 256, 0},
        Sizes{1500, 64, 0}, Sizes{3, 1032, 0}, Sizes{67, 2048, 0}, Sizes{6, 2048, 3}, Sizes{9, 4096, 0},
        Sizes{5, 8192, 0}, Sizes{3, 8200, 0}, Sizes{1100, 33, 0}}) {
    CAPTURE(sizes.tokens, sizes.hidden, sizes.offset, sizeof(T), sizeof(G));
    Host<T, G> host(sizes.tokens, sizes.hidden);
    check_forward(gpu, host, sizes.offset);
    check_backward(gpu, host, sizes.offset, true);
    check_backward(gpu, host, sizes.offset, false);
  }
}

}  // namespace

TEST_CASE("rmsnorm on the device agrees with the host twin", "[kernels][rmsnorm][gpu]") {
  Device gpu(0);
  check_sizes<float, float>(gpu);
  check_sizes<bf16, float>(gpu);
  check_sizes<bf16, bf16>(gpu);
}

TEST_CASE("rmsnorm on the device without dgain, and without tokens", "[kernels][rmsnorm][gpu]") {
  Device gpu(0);
  Host<float, float> host(7, 64);
  const Placed<float, 2> x(host.x), dy(host.dy), dx(host.x.shape());
  const Placed<float, 1> gain(host.gain), inv_rms(host.inv_rms), dgain(host.gain.shape());
  RmsNormBackward<float, Space::device> op{.dy = dy.view(),
                                           .x = x.view(),
                                           .gain = gain.view(),
                                           .inv_rms = inv_rms.view(),
                                           .add = {},
                                           .dx = dx.view(),
                                           .dgain = {}};
  test::make_ready(gpu);
  rmsnorm_backward(op, gpu.queue());
  host.backward(false, Into::overwrite);
  CHECK(relative_error(dx.values(), host.dx.values()) < 1e-5);

  op.dy.shape[0] = op.x.shape[0] = op.inv_rms.shape[0] = op.dx.shape[0] = 0;
  op.dgain = dgain.view(), op.into = Into::overwrite;
  rmsnorm_backward(op, gpu.queue());
  CHECK(dgain.values() == std::vector<float>(64, 0.0f));
  rmsnorm_forward(
      RmsNormForward<float, Space::device>{
          .x = op.x, .gain = gain.view(), .y = op.dx, .inv_rms = View<float, 1, Space::device>(nullptr, {0})},
      gpu.queue());
  test::make_ready(gpu);
}
