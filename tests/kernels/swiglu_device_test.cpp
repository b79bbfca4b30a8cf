#include "kernels/dense/swiglu.h"
#include "tests/support/catch.h"
#include "tests/support/device_tensors.h"

using namespace moebius;
using namespace moebius::kernels;
using test::kTolerance;
using test::relative_error;
using test::Tensor;
using test::values_of;

namespace {

enum class Weighted : std::uint8_t { no, yes };

/// gate_up and its gradient lie in rows of one number more than they need, so that they can start off 16
/// bytes.
template <class T, Space S>
struct Case {
  Tensor<T, 2, S> gate_up, y, dy, dgate_up;
  Tensor<float, 1, S> weights, dweights;
  Tensor<std::int32_t, 1, S> weight_of;
  Weighted weighted;

  Case(std::int64_t rows, std::int64_t width, Weighted has_weight)
      : gate_up({rows, 2 * width}),
        y({rows, width}),
        dy({rows, width}),
        dgate_up({rows, 2 * width}),
        weights({rows}),
        dweights({rows}),
        weight_of({rows}),
        weighted(has_weight) {}
  SwigluForward<T, S> forward() const {
    SwigluForward<T, S> op{.gate_up = gate_up.view(), .y = y.view()};
    if (weighted == Weighted::yes) op.weights = weights.view(), op.weight_of = weight_of.view();
    return op;
  }
  SwigluBackward<T, S> backward() const {
    SwigluBackward<T, S> op{.dy = dy.view(), .gate_up = gate_up.view(), .dgate_up = dgate_up.view()};
    if (weighted == Weighted::no) return op;
    op.weights = weights.view(), op.weight_of = weight_of.view(), op.dweights = dweights.view();
    return op;
  }
};

template <class T>
void fill_inputs(const Case<float, Space::host>& host, const Case<T, Space::device>& device) {
  fill_normal(host.gate_up, 1, 2), fill_normal(host.dy, 2), fill_normal(host.weights, 3);
  for (std::int64_t r = 0; r < host.weight_of.count(); ++r) {
    host.weight_of[r] = std::int32_t(host.weight_of.count() - 1 - r);
  }
  test::round_to<T>(host.gate_up), test::round_to<T>(host.dy);
  put(host.gate_up, device.gate_up), put(host.dy, device.dy), put(host.weights, device.weights);
  put(host.weight_of, device.weight_of);
  poison(device.y), poison(device.dgate_up), poison(device.dweights);
  check(cudaDeviceSynchronize());
}

/// dweights are sums in fp32 of numbers that both twins have alike, in either type: 1e-5 for the rounding of
/// 2^x and of the sum.
template <class T>
void check_case(Device& gpu, std::int64_t rows, std::int64_t width, Weighted weighted) {
  CAPTURE(sizeof(T), rows, width, int(weighted));
  const Case<float, Space::host> host(rows, width, weighted);
  const Case<T, Space::device> device(rows, width, weighted);
  fill_inputs(host, device);
  swiglu_forward(device.forward(), gpu.queue());
  swiglu_backward(device.backward(), gpu.queue());
  swiglu_forward(host.forward());
  swiglu_backward(host.backward());
  CHECK(relative_error(values_of<float>(device.y), host.y.values()) < kTolerance<T>);
  const auto dgate_up = values_of<float>(device.dgate_up);
  CHECK(relative_error(dgate_up, host.dgate_up.values()) < kTolerance<T>);
  if (weighted == Weighted::yes) {
    CHECK(relative_error(values_of<float>(device.dweights), host.dweights.values()) < 1e-5);
  }
  SwigluBackward<T, Space::device> in_place = device.backward();
  in_place.dgate_up = device.gate_up.view();
  swiglu_backward(in_place, gpu.queue());
  CHECK(values_of<float>(device.gate_up) == dgate_up);
}

}  // namespace

TEST_CASE("swiglu on the device agrees with the host twin", "[kernels][swiglu][gpu]") {
  Device gpu(0);
  for (const Weighted weighted : {Weighted::no, Weighted::yes}) {
    for (const auto& [rows, width] : {std::array<std::int64_t, 2>{1, 1},
                                      {3, 21},
                                      {5, 8},
                                      {20, 768},
                                      {9, 776},
                                      {2, 4096},
                                      {70, 12},
                                      {3, 1001}}) {
      check_case<float>(gpu, rows, width, weighted);
      check_case<bf16>(gpu, rows, width, weighted);
    }
  }
}

TEST_CASE("swiglu on the device takes rows off 16 bytes", "[kernels][swiglu][gpu]") {
  Device gpu(0);
  constexpr std::int64_t kRows = 4, kWidth = 64;
  const Case<float, Space::host> host(kRows, kWidth, Weighted::yes);
  const Case<bf16, Space::device> device(kRows, kWidth, Weighted::yes);
  fill_inputs(host, device);
  const test::DeviceTensor<bf16, 1> off({kRows * 2 * kWidth + 1});
  check(cudaMemcpy(off.data() + 1, device.gate_up.data(), kRows * 2 * kWidth * sizeof(bf16),
                   cudaMemcpyDeviceToDevice));
  check(cudaDeviceSynchronize());
  SwigluForward<bf16, Space::device> forward = device.forward();
  SwigluBackward<bf16, Space::device> backward = device.backward();
  forward.gate_up = backward.gate_up =
      View<const bf16, 2, Space::device>(off.data() + 1, {kRows, 2 * kWidth});
  swiglu_forward(forward, gpu.queue());
  swiglu_backward(backward, gpu.queue());
  swiglu_forward(host.forward());
  swiglu_backward(host.backward());
  CHECK(relative_error(values_of<float>(device.y), host.y.values()) < kTolerance<bf16>);
  CHECK(relative_error(values_of<float>(device.dgate_up), host.dgate_up.values()) < kTolerance<bf16>);
}

TEST_CASE("swiglu on the device far from zero stays finite", "[kernels][swiglu][gpu]") {
  Device gpu(0);
  const Case<float, Space::host> host(1, 8, Weighted::yes);
  const Case<bf16, Space::device> device(1, 8, Weighted::yes);
  fill_inputs(host, device);
  for (int c = 0; c < 16; ++c) host.gate_up[c] = c % 2 == 0 ? 1e4f : -1e4f;
  host.gate_up[0] = 87.5f, host.gate_up[1] = -87.5f;
  test::round_to<bf16>(host.gate_up);
  put(host.gate_up, device.gate_up);
  check(cudaDeviceSynchronize());
  swiglu_forward(device.forward(), gpu.queue());
  swiglu_backward(device.backward(), gpu.queue());
  swiglu_forward(host.forward());
  swiglu_backward(host.backward());
  CHECK(relative_error(values_of<float>(device.y), host.y.values()) < kTolerance<bf16>);
  CHECK(relative_error(values_of<float>(device.dgate_up), host.dgate_up.values()) < kTolerance<bf16>);
}

TEST_CASE("swiglu on the device has nothing to do without rows", "[kernels][swiglu][gpu]") {
  Device gpu(0);
  const Case<bf16, Space::device> device(0, 8, Weighted::yes);
  CHECK_NOTHROW(swiglu_forward(device.forward(), gpu.queue()));
  CHECK_NOTHROW(swiglu_backward(device.backward(), gpu.queue()));
}
