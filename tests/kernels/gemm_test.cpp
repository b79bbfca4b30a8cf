#include "kernels/dense/gemm.h"

#include "kernels/dense/bias.h"
#include "tests/kernels/checks.h"

using namespace moebius;
using namespace moebius::kernels;
using test::Approx;
using test::Tensor;

namespace {

constexpr Transpose kBoth[] = {Transpose::no, Transpose::yes};

struct Case {
  std::int64_t m, n, k;
  Transpose transpose_a, transpose_b;
  Tensor<float, 2> a, b, c;

  Case(std::array<std::int64_t, 3> extents, Transpose turn_a, Transpose turn_b)
      : m(extents[0]),
        n(extents[1]),
        k(extents[2]),
        transpose_a(turn_a),
        transpose_b(turn_b),
        a(turn_a == Transpose::yes ? std::array{k, m} : std::array{m, k}),
        b(turn_b == Transpose::yes ? std::array{n, k} : std::array{k, n}),
        c({m, n}) {
    fill_normal(a, 1), fill_normal(b, 2), fill_normal(c, 3);
  }
  Gemm<float, Space::host> op() {
    return {.a = a.view(),
            .b = b.view(),
            .c = c.view(),
            .transpose_a = transpose_a,
            .transpose_b = transpose_b,
            .alpha = 1,
            .beta = 0};
  }
  double expected(std::int64_t i, std::int64_t j) {
    double sum = 0;
    for (std::int64_t l = 0; l < k; ++l) {
      const float left = transpose_a == Transpose::yes ? a.view()(l, i) : a.view()(i, l);
      const float right = transpose_b == Transpose::yes ? b.view()(j, l) : b.view()(l, j);
      sum += double(left) * double(right);
    }
    return sum;
  }
};

}  // namespace

TEST_CASE("gemm agrees with the sum in double, for every transposition and ragged extents",
          "[kernels][gemm]") {
  // Tiles are 12 (or 6) x 32 (16, 8), blocks 256 deep: extents below, at and beyond them.
  const std::array<std::int64_t, 3> extents[] = {{1, 1, 1},     {1, 70, 300},    {3, 40, 17},   {4, 33, 256},
                                                 {5, 5, 5},     {12, 32, 256},   {13, 33, 257}, {50, 16, 64},
                                                 {97, 130, 40}, {200, 300, 530}, {7, 600, 9}};
  for (const auto& shape : extents) {
    for (const Transpose turn_a : kBoth) {
      for (const Transpose turn_b : kBoth) {
        Case host(shape, turn_a, turn_b);
        test::fill(host.c, std::numeric_limits<float>::quiet_NaN());  // beta = 0 does not read it
        gemm(host.op());
        double worst = 0;
        for (std::int64_t i = 0; i < host.m; ++i) {
          for (std::int64_t j = 0; j < host.n; ++j) {
            const double difference = std::abs(double(host.c.view()(i, j)) - host.expected(i, j));
            worst = difference < worst ? worst : difference;  // NaN is taken
          }
        }
        CAPTURE(shape, int(turn_a), int(turn_b));
        CHECK(worst < 2e-6 * double(host.k + 10));  // fp32 chains of k terms of size 1
      }
    }
  }
}

TEST_CASE("gemm scales and accumulates", "[kernels][gemm]") {
  for (const std::int64_t rows : {2, 40}) {  // dot products; panels
    Case host({rows, 37, 300}, Transpose::no, Transpose::yes);
    const auto before = host.c.values();
    auto op = host.op();
    op.alpha = 0.5f, op.beta = -2;
    gemm(op);
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < 37; ++j) {
        const double expected = 0.5 * host.expected(i, j) - 2 * double(before[std::size_t(i * 37 + j)]);
        CHECK(host.c.view()(i, j) == Approx(expected).margin(1e-3));
      }
    }
  }
}

TEST_CASE("gemm of no depth is beta * c", "[kernels][gemm]") {
  Case host({7, 5, 0}, Transpose::no, Transpose::no);
  const auto before = host.c.values();
  auto op = host.op();
  op.beta = 3;
  gemm(op);
  for (std::int64_t i = 0; i < 35; ++i) CHECK(host.c[i] == 3 * before[std::size_t(i)]);
  gemm(host.op());
  for (std::int64_t i = 0; i < 35; ++i) CHECK(host.c[i] == 0);
}

TEST_CASE("gemm works on column blocks of wider buffers and touches nothing else", "[kernels][gemm]") {
  Tensor<float, 2> wide({30, 50}), result({30, 41}), weight({9, 20});
  fill_normal(wide, 1), fill_normal(weight, 2);
  test::fill(result, 7.0f);
  const Matrix<float, Space::host> a = Matrix<float, Space::host>(wide.view()).column_block(11, 20);
  gemm<float, float>({.a = a,
                      .b = weight.view(),
                      .c = Matrix<float, Space::host>(result.view()).column_block(16, 9),
                      .transpose_b = Transpose::yes});
  for (std::int64_t i = 0; i < 30; ++i) {
    for (std::int64_t j = 0; j < 41; ++j) {
      double expected = 7;
      if (j >= 16 && j < 25) {
        expected = 0;
        for (std::int64_t l = 0; l < 20; ++l) expected += double(a(i, l)) * double(weight.view()(j - 16, l));
      }
      CHECK(result.view()(i, j) == Approx(expected).margin(1e-4));
    }
  }
}

TEST_CASE("gemm does not depend on the number of threads", "[kernels][gemm]") {
  Case host({211, 190, 700}, Transpose::yes, Transpose::no);
  test::check_thread_invariance([&] {
    gemm(host.op());
    return host.c.values();
  });
}

TEST_CASE("gemm names the tensor whose shape is wrong", "[kernels][gemm]") {
  Case host({4, 5, 6}, Transpose::no, Transpose::yes);
  auto op = host.op();
  op.b.rows = 3;
  CHECK_THROWS_WITH(gemm(op), "gemm.b: expected [5, 6], got [3, 6]");
}

TEST_CASE("bias is added to every row, its gradient is the column sum", "[kernels][bias]") {
  Tensor<float, 2> y({150, 11}), dy({150, 11});
  Tensor<float, 1> bias({11}), dbias({11});
  fill_normal(y, 1), fill_normal(bias, 2), fill_normal(dy, 3);
  test::fill(dbias, 1.0f);
  const auto before = y.values();
  bias_forward<float>({.bias = bias.view(), .y = y.view()});
  for (std::int64_t i = 0; i < y.count(); ++i) CHECK(y[i] == before[std::size_t(i)] + bias[i % 11]);
  bias_backward<float>({.dy = dy.view(), .dbias = dbias.view()});
  for (std::int64_t c = 0; c < 11; ++c) {
    double sum = 1;
    for (std::int64_t r = 0; r < 150; ++r) sum += double(dy.view()(r, c));
    CHECK(dbias[c] == Approx(sum).margin(1e-4));
  }
  CHECK_THROWS_WITH(bias_forward<float>({.bias = bias.view().slice(0, 3), .y = y.view()}),
                    "bias.bias: expected [11], got [3]");
}
