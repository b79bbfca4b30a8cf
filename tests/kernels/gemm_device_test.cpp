#include <limits>

#include "kernels/dense/gemm.h"
#include "tests/support/catch.h"
#include "tests/support/device_tensors.h"

using namespace moebius;
using namespace moebius::kernels;
using test::DeviceTensor;
using test::Tensor;

namespace {

constexpr Transpose kBoth[] = {Transpose::no, Transpose::yes};

/// A product of column blocks of wider matrices, `slack` columns wider, that begin `slack` columns in.
struct Case {
  std::int64_t m, n, k, slack;
  Transpose transpose_a, transpose_b;
  float alpha = 1, beta = 0;

  [[nodiscard]] std::array<std::int64_t, 2> a() const {
    return transpose_a == Transpose::yes ? std::array{k, m} : std::array{m, k};
  }
  [[nodiscard]] std::array<std::int64_t, 2> b() const {
    return transpose_b == Transpose::yes ? std::array{n, k} : std::array{k, n};
  }
  [[nodiscard]] std::array<std::int64_t, 2> c() const { return {m, n}; }
  [[nodiscard]] std::array<std::int64_t, 2> wide(std::array<std::int64_t, 2> shape) const {
    return {shape[0], shape[1] + 2 * slack};
  }
};

template <class T, class Out, Space S>
Gemm<T, S, Out> op_of(const Case& c, View<T, 2, S> a, View<T, 2, S> b, View<Out, 2, S> result) {
  return {.a = Matrix<T, S>(a).column_block(c.slack, c.a()[1]),
          .b = Matrix<T, S>(b).column_block(c.slack, c.b()[1]),
          .c = Matrix<Out, S>(result).column_block(c.slack, c.n),
          .transpose_a = c.transpose_a,
          .transpose_b = c.transpose_b,
          .alpha = c.alpha,
          .beta = c.beta};
}

/// Products of bf16 are exact in fp32, but tensor cores cut off what does not fit their accumulators instead
/// of rounding it: 2^-23 at worst each 16 terms, all in one direction.
template <class T, class Out>
constexpr double kError = sizeof(T) < sizeof(Out) ? 3e-5 : test::kTolerance<Out>;

/// Both twins on the same numbers, factors rounded to T, the result to Out where it is read; what lies beside
/// the blocks is compared as well. Infinite beside factors: nobody may read it.
template <class T, class Out>
double error_of(kernels::Device& device, const Case& c) {
  Tensor<float, 2> a(c.wide(c.a())), b(c.wide(c.b())), result(c.wide(c.c()));
  fill_normal(a, 1), fill_normal(b, 2), fill_normal(result, 3);
  test::round_to<T>(a), test::round_to<T>(b), test::round_to<Out>(result);
  const auto spoil = [&](const Tensor<float, 2>& wide) {
    for (std::int64_t i = 0; i < wide.count(); ++i) {
      const std::int64_t column = i % wide.shape()[1];
      if (column < c.slack || column >= wide.shape()[1] - c.slack)
        wide[i] = std::numeric_limits<float>::infinity();
    }
  };
  spoil(a), spoil(b);
  DeviceTensor<T, 2> device_a(a.shape()), device_b(b.shape());
  DeviceTensor<Out, 2> device_result(result.shape());
  test::put(a, device_a), test::put(b, device_b), test::put(result, device_result);
  check(cudaDeviceSynchronize());
  gemm(op_of<T, Out>(c, device_a.view(), device_b.view(), device_result.view()), device.queue());
  gemm(op_of<float, float>(c, a.view(), b.view(), result.view()));
  return test::relative_error(test::values_of<float>(device_result), result.values());
}

template <class T, class Out>
void check_all(kernels::Device& device, std::array<std::int64_t, 3> extents, std::int64_t slack) {
  for (const Transpose turn_a : kBoth) {
    for (const Transpose turn_b : kBoth) {
      Case c{extents[0], extents[1], extents[2], slack, turn_a, turn_b};
      CAPTURE(extents, slack, int(turn_a), int(turn_b), sizeof(T), sizeof(Out));
      CHECK(error_of<T, Out>(device, c) <= kError<T, Out>);
      c.alpha = 0.5f, c.beta = 1;
      CHECK(error_of<T, Out>(device, c) <= kError<T, Out>);
    }
  }
}

}  // namespace

TEST_CASE("gemm on the device agrees with the host, for every transposition, type, extent and stride",
          "[kernels][gemm]") {
  const std::array<std::int64_t, 3> extents[] = {{1, 1, 1},     {1, 70, 300},   {70, 1, 33},    {3, 40, 17},
                                                 {13, 33, 257}, {128, 64, 256}, {200, 300, 530}};
  kernels::Device device(0);
  for (const auto& shape : extents) {
    for (const std::int64_t slack : {0, 1, 8}) {  // rows and addresses of odd, and of 16-byte alignment
      check_all<float, float>(device, shape, slack);
      check_all<bf16, bf16>(device, shape, slack);
      check_all<bf16, float>(device, shape, slack);
    }
  }
}

TEST_CASE("gemm on the device does not read c when beta is 0", "[kernels][gemm]") {
  Tensor<float, 2> a({20, 40}), b({40, 24}), c({20, 24});
  fill_normal(a, 1), fill_normal(b, 2);
  DeviceTensor<float, 2> device_a({20, 40}), device_b({40, 24}), device_c({20, 24});
  test::put(a, device_a), test::put(b, device_b), test::poison(device_c);
  check(cudaDeviceSynchronize());
  kernels::Device device(0);
  gemm<float, float>({.a = device_a.view(), .b = device_b.view(), .c = device_c.view()}, device.queue());
  gemm<float, float>({.a = a.view(), .b = b.view(), .c = c.view()});
  CHECK(test::relative_error(test::values_of<float>(device_c), c.values()) <= test::kTolerance<float>);
}

TEST_CASE("gemm on the device without depth is beta * c, without rows nothing", "[kernels][gemm]") {
  kernels::Device device(0);
  for (const float beta : {0.0f, 3.0f}) {
    for (const std::int64_t m : {0, 7}) {
      for (const std::int64_t k : {0, 5}) {
        if (m == 7 && k == 5) continue;
        const Case c{m, 5, k, 2, Transpose::no, Transpose::yes, 1, beta};
        CAPTURE(beta, m, k);
        CHECK(error_of<float, float>(device, c) <= test::kTolerance<float>);
        CHECK(error_of<bf16, bf16>(device, c) <= test::kTolerance<bf16>);
      }
    }
  }
}

TEST_CASE("gemm on the device gives the same bits each time", "[kernels][gemm]") {
  Tensor<float, 2> a({64, 3000}), b({3000, 72});  // deep: work worth splitting over its depth
  fill_normal(a, 1), fill_normal(b, 2);
  DeviceTensor<bf16, 2> device_a({64, 3000}), device_b({3000, 72});
  DeviceTensor<float, 2> device_c({64, 72});
  test::put(a, device_a), test::put(b, device_b);
  kernels::Device device(0);
  std::vector<std::vector<float>> results;
  for (int run = 0; run < 3; ++run) {
    test::poison(device_c);
    check(cudaDeviceSynchronize());
    gemm<bf16, float>({.a = device_a.view(), .b = device_b.view(), .c = device_c.view()}, device.queue());
    results.push_back(test::values_of<float>(device_c));
  }
  CHECK(results[0] == results[1]);
  CHECK(results[0] == results[2]);
}
