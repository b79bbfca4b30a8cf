#include "kernels/moe/grouped_gemm.h"

#include <limits>

#include "kernels/dense/gemm.h"
#include "tests/kernels/checks.h"

using namespace moebius;
using namespace moebius::kernels;
using test::Approx;
using test::Tensor;

namespace {

constexpr std::int64_t kGroups = 6, kRows = 210, kIn = 48, kOut = 70;

struct Case {
  Tensor<float, 2> x{{kRows, kIn}}, y{{kRows, kOut}}, dy{{kRows, kOut}}, dx{{kRows, kIn}};
  Tensor<float, 3> w{{kGroups, kOut, kIn}}, dw{{kGroups, kOut, kIn}};
  Tensor<std::int32_t, 1> starts{{kGroups + 1}, {0, 3, 3, 150, 151, 200, 200}};

  Case() { fill_normal(x, 1), fill_normal(w, 2), fill_normal(dy, 3), fill_normal(dw, 4); }
  GroupedGemmForward<float, Space::host> forward() {
    return {.x = x.view(), .w = w.view(), .starts = starts.view(), .y = y.view()};
  }
  GroupedGemmInputGradient<float, Space::host> input_gradient() {
    return {.dy = dy.view(), .w = w.view(), .starts = starts.view(), .dx = dx.view()};
  }
  GroupedGemmWeightGradient<float, Space::host> weight_gradient() {
    return {.dy = dy.view(), .x = x.view(), .starts = starts.view(), .dw = dw.view()};
  }
};

}  // namespace

TEST_CASE("grouped_gemm is one gemm a group", "[kernels][grouped_gemm]") {
  Case host;
  test::fill(host.y, 5.0f), test::fill(host.dx, 5.0f);
  Tensor<float, 3> dw({kGroups, kOut, kIn});
  std::copy_n(host.dw.data(), dw.count(), dw.data());
  grouped_gemm_forward(host.forward());
  grouped_gemm_input_gradient(host.input_gradient());
  grouped_gemm_weight_gradient(host.weight_gradient());
  Tensor<float, 2> y({kRows, kOut}), dx({kRows, kIn});
  test::fill(y, 5.0f), test::fill(dx, 5.0f);  // rows behind the last group stay as they are
  for (std::int64_t g = 0; g < kGroups; ++g) {
    const std::int64_t begin = host.starts[g], count = host.starts[g + 1] - begin;
    const View<const float, 2, Space::host> w(host.w.data() + g * kOut * kIn, {kOut, kIn});
    const View<float, 2, Space::host> group_dw(dw.data() + g * kOut * kIn, {kOut, kIn});
    gemm<float, float>({.a = host.x.view().slice(begin, count),
                        .b = w,
                        .c = y.view().slice(begin, count),
                        .transpose_b = Transpose::yes});
    gemm<float, float>({.a = host.dy.view().slice(begin, count), .b = w, .c = dx.view().slice(begin, count)});
    gemm<float, float>({.a = host.dy.view().slice(begin, count),
                        .b = host.x.view().slice(begin, count),
                        .c = group_dw,
                        .transpose_a = Transpose::yes,
                        .beta = 1});
  }
  CHECK(host.y.values() == y.values());  // bit for bit: the same chains of multiply-adds
  CHECK(host.dx.values() == dx.values());
  CHECK(host.dw.values() == dw.values());
}

TEST_CASE("grouped_gemm_weight_gradient overwrites on demand: empty groups with zeros",
          "[kernels][grouped_gemm]") {
  Case host, cleared;
  test::fill(host.dw, std::numeric_limits<float>::quiet_NaN());
  test::fill(cleared.dw, 0.0f);
  auto op = host.weight_gradient();
  op.into = Into::overwrite;
  grouped_gemm_weight_gradient(op);
  grouped_gemm_weight_gradient(cleared.weight_gradient());
  CHECK(host.dw.values() == cleared.dw.values());
}

TEST_CASE("grouped_gemm gradients are adjoint to forward", "[kernels][grouped_gemm]") {
  Case host;
  test::fill(host.dw, 0.0f);
  for (std::int64_t i = 200 * kOut; i < host.dy.count(); ++i) host.dy[i] = 0;
  grouped_gemm_forward(host.forward());
  grouped_gemm_input_gradient(host.input_gradient());
  grouped_gemm_weight_gradient(host.weight_gradient());
  CHECK(dot(host.dx, host.x) == Approx(dot(host.dy, host.y)).epsilon(1e-4));
  CHECK(dot(host.dw, host.w) == Approx(dot(host.dy, host.y)).epsilon(1e-4));
}

TEST_CASE("grouped_gemm does not depend on the number of threads", "[kernels][grouped_gemm]") {
  Case host;
  test::check_thread_invariance([&] {
    test::fill(host.dw, 0.0f);
    grouped_gemm_forward(host.forward());
    grouped_gemm_weight_gradient(host.weight_gradient());
    return std::array{host.y.values(), host.dw.values()};
  });
}

TEST_CASE("grouped_gemm names what does not fit", "[kernels][grouped_gemm]") {
  Case host;
  auto op = host.forward();
  op.x.shape = {kRows, 47};
  CHECK_THROWS_WITH(grouped_gemm_forward(op), "grouped_gemm.x: expected [210, 48], got [210, 47]");
  host.starts[3] = 2;
  CHECK_THROWS_WITH(grouped_gemm_forward(host.forward()),
                    "grouped_gemm.starts: falls from 3 to 2 at group 2");
  host.starts[3] = 150, host.starts[6] = 211;
  CHECK_THROWS_WITH(grouped_gemm_forward(host.forward()), "grouped_gemm.starts: from 0 to 211 in 210 rows");
}
