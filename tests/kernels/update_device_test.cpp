#include <cmath>
#include <limits>

#include "kernels/update/clip.h"
#include "kernels/update/elementwise.h"
#include "kernels/update/fill_normal.h"
#include "kernels/update/sum_of_squares.h"
#include "tests/kernels/placed.h"

using namespace moebius;
using namespace moebius::kernels;
using test::Approx;
using test::Normal;
using test::Placed;
using test::relative_error;
using test::Tensor;

namespace {

constexpr std::int64_t kCounts[] = {0, 1, 3, 4, 7, 8, 9, 31, 1023, 5000, 100003};

/// Calls use(count, offset of the first tensor, offset of the others): aligned, shifted alike, shifted apart.
template <class Use>
void each_run(const Use& use) {
  for (const std::int64_t count : kCounts) {
    use(count, 0, 0);
    use(count, 3, 3);
    use(count, 0, 1);
  }
}

template <class T>
void check_one_type(Device& gpu) {
  each_run([&](std::int64_t count, std::int64_t offset, std::int64_t other_offset) {
    CAPTURE(count, offset, other_offset, sizeof(T));
    const Normal<T, 1> a({count}, 1), b({count}, 2);
    const Tensor<float, 1> y({count});
    const Placed<T, 1> device_a(a, offset), device_b(b, other_offset), device_y(a.shape(), other_offset);
    test::make_ready(gpu);
    add(
        Add<T, Space::device>{
            .a = device_a.view(), .b = device_b.view(), .y = device_y.view(), .factor = 0.5f},
        gpu.queue());
    add<float>({.a = a.view(), .b = b.view(), .y = y.view(), .factor = 0.5f});
    round_to<T>(y);  // the product with a half is exact: one rounding in both
    CHECK(device_y.template values<float>() == y.values());

    copy<T>(device_a.view(), device_y.view(), gpu.queue());
    CHECK(device_y.bits() == device_a.bits());
    scale(device_y.view(), 1.7f, gpu.queue());
    copy<float>(a.view(), y.view()), scale(y.view(), 1.7f), round_to<T>(y);
    CHECK(device_y.template values<float>() == y.values());
    fill(device_y.view(), T(0.3f), gpu.queue());
    CHECK(device_y.template values<float>() == std::vector<float>(std::size_t(count), float(T(0.3f))));
  });
}

template <class From, class To>
void check_cast(Device& gpu, const Tensor<From, 1>& x, std::int64_t offset, std::int64_t other_offset) {
  const Tensor<To, 1> y(x.shape());
  const Placed<From, 1> device_x(x, offset);
  const Placed<To, 1> device_y(x.shape(), other_offset);
  test::make_ready(gpu);
  cast<From, To>({.x = x.view(), .y = y.view()});
  cast<From, To>({.x = device_x.view(), .y = device_y.view()}, gpu.queue());
  const Placed<To, 1> expected(y);
  CHECK(device_y.bits() == expected.bits());
}

template <class T>
void check_sum(Device& gpu, std::int64_t count, std::int64_t offset) {
  CAPTURE(count, offset, sizeof(T));
  const Normal<T, 1> numbers({count}, 1);
  const Tensor<T, 1> x({count});
  for (std::int64_t i = 0; i < count; ++i) x[i] = T(numbers[i]);
  const Tensor<double, 1> sum({1}, {2.5});
  const Placed<T, 1> device_x(x, offset);
  const Placed<double, 1> device_sum(sum), again(sum);
  test::make_ready(gpu);
  sum_of_squares<T>({.x = x.view(), .sum = sum.view()});
  sum_of_squares(SumOfSquares<T, Space::device>{.x = device_x.view(), .sum = device_sum.view()}, gpu.queue());
  // The device adds up eight squares of bf16 in fp32 before it goes on in fp64.
  CHECK(device_sum.values()[0] == Approx(sum[0]).epsilon(sizeof(T) == 2 ? 1e-7 : 1e-12));
  test::make_ready(gpu);
  sum_of_squares(SumOfSquares<T, Space::device>{.x = device_x.view(), .sum = again.view()}, gpu.queue());
  CHECK(again.values() == device_sum.values());
}

template <class T>
void check_normal(Device& gpu, std::int64_t count, std::int64_t first_index) {
  const Tensor<T, 1> y({count});
  const Placed<T, 1> device_y(y.shape(), 1);
  const FillNormal<T, Space::host> host{.y = y.view(),
                                        .seed = 0x123456789abcdefull,
                                        .stream = RandomStream::initialisation,
                                        .tensor = tensor_id("layers.3.down"),
                                        .first_index = first_index,
                                        .deviation = 0.02};
  const FillNormal<T, Space::device> device{.y = device_y.view(),
                                            .seed = host.seed,
                                            .stream = host.stream,
                                            .tensor = host.tensor,
                                            .first_index = first_index,
                                            .deviation = host.deviation};
  test::make_ready(gpu);
  fill_normal(device, gpu.queue());
  fill_normal(host);
  std::vector<float> expected;
  for (const T& value : y.values()) expected.push_back(float(value));
  CHECK(relative_error(device_y.template values<float>(), expected) <
        1e-6);  // the same but for rare roundings
}

}  // namespace

TEST_CASE("fill, copy, scale and add on the device, at any address", "[kernels][update][gpu]") {
  Device gpu(0);
  check_one_type<float>(gpu);
  check_one_type<bf16>(gpu);
  const Placed<std::int32_t, 1> counts({1001}, 1);
  test::make_ready(gpu);
  fill(counts.view(), std::int32_t(-7), gpu.queue());
  CHECK(counts.values() == std::vector<std::int32_t>(1001, -7));
}

TEST_CASE("cast on the device rounds as the host does", "[kernels][update][gpu]") {
  Device gpu(0);
  each_run([&](std::int64_t count, std::int64_t offset, std::int64_t other_offset) {
    CAPTURE(count, offset, other_offset);
    const Normal<float, 1> x({count}, 1);
    const Tensor<bf16, 1> half({count});
    const Tensor<std::int32_t, 1> whole({count});
    for (std::int64_t i = 0; i < count; ++i) half[i] = bf16(x[i]), whole[i] = std::int32_t(i * 123457);
    check_cast<float, bf16>(gpu, x, offset, other_offset);
    check_cast<bf16, float>(gpu, half, offset, other_offset);
    check_cast<std::int32_t, float>(gpu, whole, offset, other_offset);
  });
}

TEST_CASE("sum_of_squares on the device agrees with the host twin, and with itself",
          "[kernels][update][gpu]") {
  Device gpu(0);
  for (const std::int64_t count : {0, 1, 7, 8, 4097, 100003, 5000011}) {
    for (const std::int64_t offset : {0, 3}) {
      check_sum<float>(gpu, count, offset);
      check_sum<bf16>(gpu, count, offset);
    }
  }
}

TEST_CASE("clip_scale on the device agrees with the host twin", "[kernels][clip][gpu]") {
  Device gpu(0);
  const double infinity = std::numeric_limits<double>::infinity(),
               nan = std::numeric_limits<double>::quiet_NaN();
  for (const double square : {0.0, 1e-20, 0.7, 16.0, 1e30, infinity, nan}) {
    for (const double clip_norm : {0.0, 1.0, 3.0}) {
      const Tensor<double, 1> sum({1}, {square});
      const Tensor<float, 1> scale({1});
      const Placed<double, 1> device_sum(sum);
      const Placed<float, 1> device_scale({1});
      test::make_ready(gpu);
      clip_scale({.sum_of_squares = sum.view(),
                  .gradient_scale = 0.25,
                  .clip_norm = clip_norm,
                  .scale = scale.view()});
      clip_scale(ClipScale<Space::device>{.sum_of_squares = device_sum.view(),
                                          .gradient_scale = 0.25,
                                          .clip_norm = clip_norm,
                                          .scale = device_scale.view()},
                 gpu.queue());
      const float got = device_scale.values()[0];
      CHECK((std::isnan(scale[0]) ? std::isnan(got) : got == Approx(scale[0]).epsilon(1e-7)));
    }
  }
}

TEST_CASE("fill_normal on the device draws the host's numbers", "[kernels][update][gpu]") {
  Device gpu(0);
  for (const std::int64_t first_index : {std::int64_t{0}, std::int64_t{5'000'000'000}}) {
    for (const std::int64_t count : {0, 1, 100003}) {
      check_normal<float>(gpu, count, first_index);
      check_normal<bf16>(gpu, count, first_index);
    }
  }
}
