#include "kernels/attention/qk_norm_rope.h"

#include <cmath>

#include "kernels/attention/rope_table.h"
#include "tests/kernels/checks.h"

using namespace moebius;
using namespace moebius::kernels;
using test::Approx;
using test::Tensor;

namespace {

constexpr std::int64_t kHeads = 2, kKvHeads = 1, kHeadDim = 8;

/// 3 heads in all, 8 wide, of which `rotary_dim` turn, in a buffer that also holds a v. y and dy hold q, then
/// k.
struct Case {
  std::int64_t tokens;
  Tensor<float, 2> x, y, dy, dx, cosine, sine, inv_rms;
  Tensor<float, 1> q_gain, k_gain, q_dgain, k_dgain;
  Tensor<std::int32_t, 1> positions;
  std::vector<double> frequencies;

  explicit Case(std::int64_t token_count, std::int64_t rotary_dim = kHeadDim)
      : tokens(token_count),
        x({tokens, 4 * kHeadDim}),
        y({tokens, 4 * kHeadDim}),
        dy({tokens, 3 * kHeadDim}),
        dx({tokens, 3 * kHeadDim}),
        cosine({100, rotary_dim / 2}),
        sine({100, rotary_dim / 2}),
        inv_rms({tokens, 3}),
        q_gain({kHeadDim}),
        k_gain({kHeadDim}),
        q_dgain({kHeadDim}),
        k_dgain({kHeadDim}),
        positions({tokens}) {
    fill_normal(x, 1), fill_normal(dy, 2), fill_normal(q_gain, 3), fill_normal(k_gain, 4);
    for (std::int64_t t = 0; t < tokens; ++t) positions[t] = std::int32_t(7 * t % 100);
    for (std::int64_t i = 0; i < rotary_dim / 2; ++i)
      frequencies.push_back(std::pow(100.0, -2.0 * double(i) / 8));
    fill_rope_table(
        {.inverse_frequencies = frequencies, .factor = 1, .cosine = cosine.view(), .sine = sine.view()});
  }
  using Columns = Matrix<float, Space::host>;
  static Columns qk(const Tensor<float, 2>& packed) {
    return Columns(packed.view()).column_block(0, 3 * kHeadDim);
  }
  static Columns q(const Tensor<float, 2>& packed) {
    return Columns(packed.view()).column_block(0, kHeads * kHeadDim);
  }
  static Columns k(const Tensor<float, 2>& packed) {
    return Columns(packed.view()).column_block(kHeads * kHeadDim, kKvHeads * kHeadDim);
  }
  QkNormRopeForward<float, Space::host> forward() {
    return {.x = qk(x),
            .q = qk(y).column_block(0, kHeads * kHeadDim),
            .k = qk(y).column_block(kHeads * kHeadDim, kKvHeads * kHeadDim),
            .q_gain = q_gain.view(),
            .k_gain = k_gain.view(),
            .cosine = cosine.view(),
            .sine = sine.view(),
            .positions = positions.view(),
            .inv_rms = inv_rms.view(),
            .heads = kHeads,
            .kv_heads = kKvHeads,
            .epsilon = 1e-6f};
  }
  QkNormRopeBackward<float, Space::host> backward() {
    const Matrix<float, Space::host> all(dy.view());
    return {.dq = all.column_block(0, kHeads * kHeadDim),
            .dk = all.column_block(kHeads * kHeadDim, kKvHeads * kHeadDim),
            .x = qk(x),
            .q_gain = q_gain.view(),
            .k_gain = k_gain.view(),
            .cosine = cosine.view(),
            .sine = sine.view(),
            .positions = positions.view(),
            .inv_rms = inv_rms.view(),
            .dx = dx.view(),
            .q_dgain = q_dgain.view(),
            .k_dgain = k_dgain.view(),
            .heads = kHeads,
            .kv_heads = kKvHeads};
  }
  double loss(const QkNormRopeForward<float, Space::host>& op) {
    qk_norm_rope_forward(op);
    double sum = 0;
    for (std::int64_t t = 0; t < tokens; ++t) {
      for (std::int64_t c = 0; c < 3 * kHeadDim; ++c) sum += double(y.view()(t, c)) * double(dy.view()(t, c));
    }
    return sum;
  }
};

}  // namespace

TEST_CASE("rope_table holds the factor times cosine and sine of fp32 angles", "[kernels][rope]") {
  Tensor<float, 2> cosine({3000, 2}), sine({3000, 2});
  const std::vector<double> frequencies{1, 0.1};
  fill_rope_table(
      {.inverse_frequencies = frequencies, .factor = 1.25, .cosine = cosine.view(), .sine = sine.view()});
  CHECK(cosine.view()(0, 1) == 1.25f);
  CHECK(sine.view()(0, 0) == 0);
  const float angle = 2999 * 0.1f;
  CHECK(cosine.view()(2999, 1) == float(1.25 * std::cos(double(angle))));
  CHECK(sine.view()(2999, 1) == float(1.25 * std::sin(double(angle))));
}

TEST_CASE("qk_norm_rope agrees with norm, then rotate_half, in double", "[kernels][rope]") {
  for (const std::int64_t rotary_dim : {8, 4}) {
    Case host(5, rotary_dim);
    qk_norm_rope_forward(host.forward());
    for (std::int64_t t = 0; t < 5; ++t) {
      for (std::int64_t h = 0; h < 3; ++h) {
        const float* x = host.qk(host.x).row(t) + h * kHeadDim;
        const auto& gain = h < kHeads ? host.q_gain : host.k_gain;
        double square = 0;
        for (std::int64_t i = 0; i < kHeadDim; ++i) square += double(x[i]) * double(x[i]) / kHeadDim;
        const auto normed = [&](std::int64_t i) {
          return double(x[i]) / std::sqrt(square + 1e-6) * double(gain[i]);
        };
        for (std::int64_t i = 0; i < kHeadDim; ++i) {
          double expected = normed(i);
          if (i < rotary_dim) {
            const std::int64_t half = rotary_dim / 2;
            const double angle = host.positions[t] * host.frequencies[std::size_t(i % half)];
            const double rotated = i < half ? -normed(i + half) : normed(i - half);
            expected = normed(i) * std::cos(angle) + rotated * std::sin(angle);
          }
          CHECK(host.y.view()(t, h * kHeadDim + i) == Approx(expected).margin(1e-5));
        }
      }
    }
  }
}

TEST_CASE("qk_norm_rope does not touch v and works in place without norm", "[kernels][rope]") {
  Case host(5);
  const auto before = host.x.values();
  auto op = host.forward();
  op.q_gain = op.k_gain = {};
  op.inv_rms = {};
  qk_norm_rope_forward(op);
  op.q = host.q(host.x), op.k = host.k(host.x);
  qk_norm_rope_forward(op);
  for (std::int64_t t = 0; t < 5; ++t) {
    for (std::int64_t c = 0; c < 4 * kHeadDim; ++c) {
      const bool is_v = c >= 3 * kHeadDim;
      CHECK(host.x.view()(t, c) == (is_v ? before[std::size_t(t * 4 * kHeadDim + c)] : host.y.view()(t, c)));
      if (is_v) CHECK(host.y.view()(t, c) == 0);
    }
  }
}

TEST_CASE("qk_norm_rope gradient matches central differences", "[kernels][rope]") {
  for (const std::int64_t rotary_dim : {8, 4}) {
    Case host(3, rotary_dim);
    const auto loss = [&] { return host.loss(host.forward()); };
    loss();
    qk_norm_rope_backward(host.backward());
    Tensor<float, 2> dx({3, 4 * kHeadDim});  // zeros in the columns of v
    for (std::int64_t t = 0; t < 3; ++t) std::copy_n(&host.dx.view()(t, 0), 3 * kHeadDim, &dx.view()(t, 0));
    check_gradient(host.x, dx, loss);
    check_gradient(host.q_gain, host.q_dgain, loss);
    check_gradient(host.k_gain, host.k_dgain, loss);
  }
}

TEST_CASE("qk_norm_rope backward without norm is the adjoint, in place, without x", "[kernels][rope]") {
  Case host(4);
  auto op = host.forward();
  op.q_gain = op.k_gain = {};
  const double expected = host.loss(op);  // <dy, F(x)>
  auto backward = host.backward();
  backward.x = {};
  backward.q_gain = backward.k_gain = {};
  backward.inv_rms = {};
  backward.q_dgain = backward.k_dgain = {};
  backward.dx = host.dy.view();
  qk_norm_rope_backward(backward);
  double sum = 0;  // <F^T dy, x>
  for (std::int64_t t = 0; t < 4; ++t) {
    for (std::int64_t c = 0; c < 3 * kHeadDim; ++c)
      sum += double(host.dy.view()(t, c)) * double(host.x.view()(t, c));
  }
  CHECK(sum == Approx(expected).epsilon(1e-5));
}

TEST_CASE("qk_norm_rope overwrites the dgains when it is to", "[kernels][rope]") {
  Case host(70);
  qk_norm_rope_forward(host.forward());
  qk_norm_rope_backward(host.backward());  // onto zeros
  const auto q_dgain = host.q_dgain.values(), k_dgain = host.k_dgain.values();
  test::fill(host.q_dgain, 5.0f), test::fill(host.k_dgain, 5.0f);
  auto op = host.backward();
  op.into = Into::overwrite;
  qk_norm_rope_backward(op);
  CHECK(host.q_dgain.values() == q_dgain);
  CHECK(host.k_dgain.values() == k_dgain);
}

TEST_CASE("qk_norm_rope does not depend on the number of threads", "[kernels][rope]") {
  Case host(300);
  qk_norm_rope_forward(host.forward());
  test::check_thread_invariance([&] {
    test::fill(host.q_dgain, 0.0f);
    qk_norm_rope_backward(host.backward());
    return host.q_dgain.values();
  });
}

TEST_CASE("qk_norm_rope names what does not fit", "[kernels][rope]") {
  Case host(5);
  auto op = host.forward();
  op.k_gain.shape = {4};
  CHECK_THROWS_WITH(qk_norm_rope_forward(op), "qk_norm_rope.k_gain: expected [8], got [4]");
  host.positions[3] = 100;
  CHECK_THROWS_WITH(qk_norm_rope_forward(host.forward()),
                    "qk_norm_rope.positions: 100 at token 3, tables of 100 rows");
  op = host.forward();
  op.heads = 4;
  CHECK_THROWS_WITH(qk_norm_rope_forward(op), "qk_norm_rope: 24 columns for 5 heads, rotary_dim 8");
  op = host.forward();
  op.k = host.q(host.y);
  CHECK_THROWS_WITH(qk_norm_rope_forward(op), "qk_norm_rope.k: expected [5, 8], got [5, 16]");
}
