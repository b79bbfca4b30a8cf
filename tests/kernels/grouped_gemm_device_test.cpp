#include <limits>
#include <numeric>

#include "kernels/dense/gemm.h"
#include "kernels/moe/grouped_gemm.h"
#include "tests/support/catch.h"
#include "tests/support/device_tensors.h"

using namespace moebius;
using namespace moebius::kernels;
using test::DeviceTensor;
using test::Tensor;

namespace {

constexpr std::int64_t kSlackRows = 70;  // behind the last group: neither read nor written

struct Shape {
  std::vector<std::int64_t> sizes;  // rows of each group
  std::int64_t out, in;

  [[nodiscard]] std::int64_t groups() const { return std::int64_t(sizes.size()); }
  [[nodiscard]] std::int64_t used() const {
    return std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
  }
  [[nodiscard]] std::int64_t rows() const { return used() + kSlackRows; }
};

template <class T, class G, Space S>
struct Case {
  Tensor<T, 2, S> x, y, dy, dx;
  Tensor<T, 3, S> w;
  Tensor<G, 3, S> dw;
  Tensor<std::int32_t, 1, S> starts;

  explicit Case(const Shape& shape)
      : x({shape.rows(), shape.in}),
        y({shape.rows(), shape.out}),
        dy({shape.rows(), shape.out}),
        dx({shape.rows(), shape.in}),
        w({shape.groups(), shape.out, shape.in}),
        dw({shape.groups(), shape.out, shape.in}),
        starts({shape.groups() + 1}) {}
  GroupedGemmForward<T, S> forward() const {
    return {.x = x.view(), .w = w.view(), .starts = starts.view(), .y = y.view()};
  }
  GroupedGemmInputGradient<T, S> input_gradient() const {
    return {.dy = dy.view(), .w = w.view(), .starts = starts.view(), .dx = dx.view()};
  }
  auto weight_gradient(Into into) const {
    if constexpr (S == Space::host) {
      return GroupedGemmWeightGradient<T, S>{
          .dy = dy.view(), .x = x.view(), .starts = starts.view(), .dw = dw.view(), .into = into};
    } else {
      return GroupedGemmWeightGradient<T, S, G>{
          .dy = dy.view(), .x = x.view(), .starts = starts.view(), .dw = dw.view(), .into = into};
    }
  }
};

using HostCase = Case<float, float, Space::host>;
template <class T, class G>
using DeviceCase = Case<T, G, Space::device>;

void fill_starts(const Shape& shape, const HostCase& host) {
  std::int32_t start = 0;
  for (std::int64_t g = 0; g < shape.groups(); ++g) {
    host.starts[g] = start;
    start += std::int32_t(shape.sizes[std::size_t(g)]);
  }
  host.starts[shape.groups()] = start;
}

/// Random inputs, rounded as the device holds them; NaN in the rows of no group; poisoned outputs.
template <class T, class G>
void fill(const Shape& shape, const HostCase& host, const DeviceCase<T, G>& device) {
  fill_starts(shape, host);
  fill_normal(host.x, 1), fill_normal(host.w, 2), fill_normal(host.dy, 3), fill_normal(host.dw, 4);
  test::round_to<T>(host.x), test::round_to<T>(host.w), test::round_to<T>(host.dy),
      test::round_to<G>(host.dw);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (std::int64_t i = shape.used() * shape.in; i < host.x.count(); ++i) host.x[i] = nan;
  for (std::int64_t i = shape.used() * shape.out; i < host.dy.count(); ++i) host.dy[i] = nan;
  put(host.x, device.x), put(host.w, device.w), put(host.dy, device.dy), put(host.dw, device.dw);
  put(host.starts, device.starts);
  poison(device.y), poison(device.dx);
  check(cudaDeviceSynchronize());
}

/// The rows of groups agree; all others still hold the poison.
template <class T>
void check_rows(const DeviceTensor<T, 2>& got, const Tensor<float, 2>& expected, std::int64_t used) {
  std::vector<float> values = test::values_of<float>(got), wanted = expected.values();
  const std::size_t count = std::size_t(used * expected.shape()[1]);
  CHECK(std::all_of(values.begin() + std::ptrdiff_t(count), values.end(),
                    [](float v) { return std::isnan(v); }));
  values.resize(count), wanted.resize(count);
  CHECK(test::relative_error(values, wanted) <= test::kTolerance<T>);
}

/// Sums of exact products in fp32: tensor cores cut off what does not fit their accumulators instead of
/// rounding, 2^-23 at worst each 16 terms, all in one direction.
template <class T, class G>
constexpr double kGradientError = sizeof(T) < sizeof(G) ? 3e-5 : test::kTolerance<G>;

template <class T, class G>
void check_shape(kernels::Device& gpu, const Shape& shape) {
  CAPTURE(sizeof(T), sizeof(G), shape.sizes, shape.out, shape.in);
  const HostCase host(shape);
  const DeviceCase<T, G> device(shape);
  fill(shape, host, device);
  grouped_gemm_forward(host.forward());
  grouped_gemm_forward(device.forward(), gpu.queue());
  check_rows(device.y, host.y, shape.used());
  grouped_gemm_input_gradient(host.input_gradient());
  grouped_gemm_input_gradient(device.input_gradient(), gpu.queue());
  check_rows(device.dx, host.dx, shape.used());
  grouped_gemm_weight_gradient(host.weight_gradient(Into::add));
  grouped_gemm_weight_gradient(device.weight_gradient(Into::add), gpu.queue());
  CHECK(test::relative_error(test::values_of<float>(device.dw), host.dw.values()) <= kGradientError<T, G>);
  poison(device.dw);
  check(cudaDeviceSynchronize());
  grouped_gemm_weight_gradient(host.weight_gradient(Into::overwrite));
  grouped_gemm_weight_gradient(device.weight_gradient(Into::overwrite), gpu.queue());
  CHECK(test::relative_error(test::values_of<float>(device.dw), host.dw.values()) <= kGradientError<T, G>);
}

void check_types(const Shape& shape) {
  kernels::Device gpu(0);
  check_shape<float, float>(gpu, shape);
  check_shape<bf16, float>(gpu, shape);
  check_shape<bf16, bf16>(gpu, shape);
}

/// Empty at the front, in the middle and at the end, one row, around the heights of tiles and blocks of rows.
const std::vector<std::int64_t> kAwkward = {0, 1, 63, 64, 65, 0, 0, 127, 128, 129, 3, 257, 0};

}  // namespace

TEST_CASE("grouped_gemm on the device agrees with the host for awkward groups", "[kernels][grouped_gemm]") {
  check_types({kAwkward, 256, 192});
}

TEST_CASE("grouped_gemm on the device agrees with the host where tiles are cut off",
          "[kernels][grouped_gemm]") {
  // Widths that tensor cores take in 8s: below a tile, one more than one, tails of each kind.
  for (const auto& [out, in] : {std::pair{8, 8}, {32, 64}, {200, 136}, {328, 72}, {64, 520}})
    check_types({{5, 0, 140, 70}, out, in});
}

TEST_CASE("grouped_gemm on the device agrees with the host for widths that no vector divides",
          "[kernels][grouped_gemm]") {
  for (const auto& [out, in] : {std::pair{1, 1}, {7, 20}, {70, 48}, {65, 129}})
    check_types({{0, 3, 0, 147, 1, 49, 0}, out, in});
}

TEST_CASE("grouped_gemm on the device: more tiles than multiprocessors, again and again",
          "[kernels][grouped_gemm]") {
  kernels::Device gpu(0);
  const Shape shape{std::vector<std::int64_t>(40, 200), 384, 64};  // 160 tiles of the widest kind
  const HostCase host(shape);
  const DeviceCase<bf16, float> device(shape);
  fill(shape, host, device);
  grouped_gemm_forward(host.forward());
  for (int run = 0; run < 3; ++run) {
    poison(device.y);
    check(cudaDeviceSynchronize());
    grouped_gemm_forward(device.forward(), gpu.queue());
    check_rows(device.y, host.y, shape.used());
  }
}

TEST_CASE("grouped_gemm on the device with nothing to do", "[kernels][grouped_gemm]") {
  kernels::Device gpu(0);
  const HostCase host({{0, 0}, 64, 64});
  const DeviceCase<bf16, float> device({{0, 0}, 64, 64});
  fill({{0, 0}, 64, 64}, host, device);
  auto forward = device.forward();
  auto dx = device.input_gradient();
  auto dw = device.weight_gradient(Into::add);
  forward.x.shape[0] = forward.y.shape[0] = dx.dy.shape[0] = dx.dx.shape[0] = dw.dy.shape[0] = dw.x.shape[0] =
      0;
  grouped_gemm_forward(forward, gpu.queue());
  grouped_gemm_input_gradient(dx, gpu.queue());
  grouped_gemm_weight_gradient(dw, gpu.queue());
  CHECK(test::values_of<float>(device.dw) == host.dw.values());
  dw.into = Into::overwrite;
  grouped_gemm_weight_gradient(dw, gpu.queue());
  CHECK(test::values_of<float>(device.dw) == std::vector<float>(std::size_t(device.dw.count()), 0.0f));
}

TEST_CASE("grouped_gemm on the device writes nothing beside its results", "[kernels][grouped_gemm]") {
  constexpr std::int64_t kGuard = 4096, kGroups = 3, kOut = 136, kIn = 200;
  kernels::Device gpu(0);
  const Shape shape{{30, 0, 100}, kOut, kIn};
  const HostCase host(shape);
  const DeviceCase<bf16, float> device(shape);
  fill(shape, host, device);
  DeviceTensor<float, 1> guarded({kGroups * kOut * kIn + 2 * kGuard});
  auto op = device.weight_gradient(Into::overwrite);
  op.dw.data = guarded.data() + kGuard;
  poison(guarded);
  check(cudaDeviceSynchronize());
  grouped_gemm_weight_gradient(op, gpu.queue());
  const std::vector<float> values = test::values_of<float>(guarded);
  for (std::int64_t i = 0; i < guarded.count(); ++i) {
    const bool is_guard = i < kGuard || i >= guarded.count() - kGuard;
    if (std::isnan(values[std::size_t(i)]) == is_guard) continue;
    FAIL("element " << i - kGuard << " of the result is " << values[std::size_t(i)]);
  }
}

TEST_CASE("grouped_gemm on the device is cuBLAS a group at the experts' sizes", "[kernels][grouped_gemm]") {
  const Shape shape{{700, 0, 5, 1283, 63, 448, 129, 1024}, 1536, 2048};
  kernels::Device gpu(0);
  const HostCase host(shape);
  const DeviceCase<bf16, float> device(shape);
  fill(shape, host, device);
  DeviceTensor<bf16, 2> y(device.y.shape()), dx(device.dx.shape());
  DeviceTensor<float, 3> dw(device.dw.shape());
  put(host.dw, dw);
  check(cudaDeviceSynchronize());
  grouped_gemm_forward(device.forward(), gpu.queue());
  grouped_gemm_input_gradient(device.input_gradient(), gpu.queue());
  grouped_gemm_weight_gradient(device.weight_gradient(Into::add), gpu.queue());
  for (std::int64_t g = 0; g < shape.groups(); ++g) {
    const std::int64_t start = host.starts[g], count = host.starts[g + 1] - start;
    const View<bf16, 2, Space::device> w(device.w.data() + g * shape.out * shape.in, {shape.out, shape.in});
    const View<float, 2, Space::device> group_dw(dw.data() + g * shape.out * shape.in, {shape.out, shape.in});
    const auto x = device.x.view().slice(start, count), dy = device.dy.view().slice(start, count);
    gemm<bf16, bf16>({.a = x, .b = w, .c = y.view().slice(start, count), .transpose_b = Transpose::yes},
                     gpu.queue());
    gemm<bf16, bf16>({.a = dy, .b = w, .c = dx.view().slice(start, count)}, gpu.queue());
    gemm<bf16, float>({.a = dy, .b = x, .c = group_dw, .transpose_a = Transpose::yes, .beta = 1},
                      gpu.queue());
  }
  const auto used_rows = [&](const DeviceTensor<bf16, 2>& tensor) {
    std::vector<float> values = test::values_of<float>(tensor);
    values.resize(std::size_t(shape.used() * tensor.shape()[1]));
    return values;
  };
  CHECK(test::relative_error(used_rows(device.y), used_rows(y)) <= test::kTolerance<bf16>);
  CHECK(test::relative_error(used_rows(device.dx), used_rows(dx)) <= test::kTolerance<bf16>);
  CHECK(test::relative_error(test::values_of<float>(device.dw), test::values_of<float>(dw)) <= 3e-5);
}
