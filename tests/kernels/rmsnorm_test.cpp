#include "kernels/norm/rmsnorm.h"

#include "tests/kernels/checks.h"

using namespace moebius;
using namespace moebius::kernels;
using test::Approx;
using test::Tensor;

namespace {

struct Case {
  Tensor<float, 2> x, y, dy, dx, add;
  Tensor<float, 1> gain, inv_rms, dgain;

  Case(std::int64_t tokens, std::int64_t hidden)
      : x({tokens, hidden}),
        y(x.shape()),
        dy(x.shape()),
        dx(x.shape()),
        add(x.shape()),
        gain({hidden}),
        inv_rms({tokens}),
        dgain({hidden}) {
    fill_normal(x, 1), fill_normal(gain, 2), fill_normal(dy, 3), fill_normal(add, 4);
  }
  RmsNormForward<float, Space::host> forward() {
    return {.x = x.view(), .gain = gain.view(), .y = y.view(), .inv_rms = inv_rms.view(), .epsilon = 1e-6f};
  }
  RmsNormBackward<float, Space::host> backward() {
    return {.dy = dy.view(),
            .x = x.view(),
            .gain = gain.view(),
            .inv_rms = inv_rms.view(),
            .add = {},
            .dx = dx.view(),
            .dgain = dgain.view()};
  }
  double loss() {
    rmsnorm_forward(forward());
    return dot(dy, y);
  }
};

}  // namespace

TEST_CASE("rmsnorm of a constant row is the gain", "[kernels][rmsnorm]") {
  Case host(1, 4);
  for (int c = 0; c < 4; ++c) host.x[c] = -3, host.gain[c] = float(c);
  rmsnorm_forward(host.forward());
  CHECK(host.inv_rms[0] == Approx(1.0 / 3));
  for (int c = 0; c < 4; ++c) CHECK(host.y[c] == Approx(-c));
}

TEST_CASE("rmsnorm gradient matches central differences", "[kernels][rmsnorm]") {
  Case host(3, 9);
  host.loss();
  rmsnorm_backward(host.backward());
  check_gradient(host.x, host.dx, [&] { return host.loss(); });
  check_gradient(host.gain, host.dgain, [&] { return host.loss(); });
}

TEST_CASE("rmsnorm accumulates dgain and adds what reaches x elsewhere", "[kernels][rmsnorm]") {
  Case host(70, 8);  // more than one block of tokens
  host.loss();
  rmsnorm_backward(host.backward());
  const auto dx = host.dx.values(), dgain = host.dgain.values();
  auto op = host.backward();
  op.add = host.add.view();
  op.dx = host.add.view();  // in place
  const auto add = host.add.values();
  rmsnorm_backward(op);
  for (std::size_t i = 0; i < dx.size(); ++i)
    CHECK(host.add[std::int64_t(i)] == Approx(dx[i] + add[i]).margin(1e-6));
  for (std::size_t c = 0; c < dgain.size(); ++c) CHECK(host.dgain[std::int64_t(c)] == Approx(2 * dgain[c]));
}

TEST_CASE("rmsnorm overwrites dgain when it is to", "[kernels][rmsnorm]") {
  Case host(70, 8);
  host.loss();
  rmsnorm_backward(host.backward());  // onto zeros
  const auto dgain = host.dgain.values();
  test::fill(host.dgain, 5.0f);
  auto op = host.backward();
  op.into = Into::overwrite;
  rmsnorm_backward(op);
  CHECK(host.dgain.values() == dgain);
}

TEST_CASE("rmsnorm without dgain gives the same dx", "[kernels][rmsnorm]") {
  Case host(5, 8);
  host.loss();
  rmsnorm_backward(host.backward());
  const auto dx = host.dx.values();
  auto op = host.backward();
  op.dgain = {};
  rmsnorm_backward(op);
  CHECK(host.dx.values() == dx);
}

TEST_CASE("add_rmsnorm is the sum, then rmsnorm", "[kernels][rmsnorm]") {
  Case host(3, 8);
  const auto x = host.x.values(), delta = host.add.values();
  add_rmsnorm_forward<float>({.x = host.x.view(),
                              .delta = host.add.view(),
                              .gain = host.gain.view(),
                              .sum = host.x.view(),
                              .y = host.dx.view(),
                              .inv_rms = host.inv_rms.view(),
                              .epsilon = 1e-6f});
  for (std::size_t i = 0; i < x.size(); ++i) CHECK(host.x[std::int64_t(i)] == x[i] + delta[i]);
  rmsnorm_forward(host.forward());
  CHECK(host.dx.values() == host.y.values());
}

TEST_CASE("rmsnorm in bf16 rounds where Hugging Face does", "[kernels][rmsnorm]") {
  Tensor<bf16, 2> x({1, 4}), y({1, 4});
  Tensor<bf16, 1> gain({4});
  Tensor<float, 1> inv_rms({1});
  for (int c = 0; c < 4; ++c) x[c] = bf16(0.3f + float(c)), gain[c] = bf16(1.7f - 0.3f * float(c));
  rmsnorm_forward<bf16>(
      {.x = x.view(), .gain = gain.view(), .y = y.view(), .inv_rms = inv_rms.view(), .epsilon = 1e-6f});
  for (int c = 0; c < 4; ++c) {
    const bf16 normalised(float(x[c]) * inv_rms[0]);
    CHECK(y[c].bits == bf16(float(normalised) * float(gain[c])).bits);
  }
}

TEST_CASE("rmsnorm does not depend on the number of threads", "[kernels][rmsnorm]") {
  Case host(300, 33);
  host.loss();
  test::check_thread_invariance([&] {
    test::fill(host.dgain, 0.0f);
    rmsnorm_backward(host.backward());
    return host.dgain.values();
  });
}

TEST_CASE("rmsnorm names the tensor whose shape is wrong", "[kernels][rmsnorm]") {
  Case host(2, 8);
  auto op = host.forward();
  op.gain.shape = {4};
  CHECK_THROWS_WITH(rmsnorm_forward(op), "rmsnorm.gain: expected [8], got [4]");
  auto backward = host.backward();
  backward.dgain.shape = {7};
  CHECK_THROWS_WITH(rmsnorm_backward(backward), "rmsnorm.dgain: expected [8], got [7]");
}
