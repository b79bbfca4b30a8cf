#include "kernels/moe/router.h"
#include "tests/support/catch.h"
#include "tests/support/device_tensors.h"

using namespace moebius;
using namespace moebius::kernels;
using test::relative_error;
using test::Tensor;
using test::values_of;

namespace {

struct Sizes {
  std::int64_t tokens, experts, top_k, valid_tokens;
};

struct Options {
  WeightSum weight_sum = WeightSum::sum_to_one;
  Routing routing = Routing::learned;
  float z_coefficient = 0;
};

template <Space S>
struct Case {
  Tensor<float, 2, S> logits, probabilities, weights, dweights, dlogits;
  Tensor<float, 1, S> log_sum_exp, probability_sums, square_sum, aux_gradient;
  Tensor<std::int32_t, 2, S> ids;
  Tensor<std::int32_t, 1, S> counts, positions;
  std::int64_t valid_tokens;
  Options options;

  Case(Sizes sizes, Options with)
      : logits({sizes.tokens, sizes.experts}),
        probabilities({sizes.tokens, sizes.experts}),
        weights({sizes.tokens, sizes.top_k}),
        dweights({sizes.tokens, sizes.top_k}),
        dlogits({sizes.tokens, sizes.experts}),
        log_sum_exp({sizes.tokens}),
        probability_sums({sizes.experts}),
        square_sum({1}),
        aux_gradient({sizes.experts}),
        ids({sizes.tokens, sizes.top_k}),
        counts({sizes.experts}),
        positions({sizes.tokens}),
        valid_tokens(sizes.valid_tokens),
        options(with) {}
  RouterForward<S> forward() const {
    return {.logits = logits.view(),
            .probabilities = probabilities.view(),
            .log_sum_exp = log_sum_exp.view(),
            .ids = ids.view(),
            .weights = weights.view(),
            .counts = counts.view(),
            .probability_sums = probability_sums.view(),
            .square_sum = square_sum.view(),
            .valid_tokens = valid_tokens,
            .positions = positions.view(),
            .weight_sum = options.weight_sum,
            .routing = options.routing};
  }
  /// The aux loss's gradient goes with the z loss's.
  RouterBackward<float, S> backward() const { return backward_into(dlogits.view()); }
  template <class T>
  RouterBackward<T, S> backward_into(View<T, 2, S> dlogits_in_t) const {
    const bool has_aux = options.z_coefficient != 0;
    return {.dweights = dweights.view(),
            .probabilities = probabilities.view(),
            .log_sum_exp = log_sum_exp.view(),
            .ids = ids.view(),
            .aux_gradient = has_aux ? aux_gradient.view() : View<const float, 1, S>(),
            .z_coefficient = options.z_coefficient,
            .dlogits = dlogits_in_t,
            .valid_tokens = valid_tokens,
            .weight_sum = options.weight_sum};
  }
};

void upload_inputs(const Case<Space::host>& host, const Case<Space::device>& device) {
  put(host.logits, device.logits), put(host.dweights, device.dweights);
  for (std::int64_t t = 0; t < host.positions.count(); ++t)
    host.positions[t] = std::int32_t(5 + t * 7 % 1000);
  put(host.aux_gradient, device.aux_gradient), put(host.positions, device.positions);
  poison(device.probabilities), poison(device.weights), poison(device.dlogits), poison(device.log_sum_exp);
  poison(device.probability_sums), poison(device.square_sum), poison(device.ids), poison(device.counts);
}

void poison_scratch(Device& gpu) {
  check(cudaMemset(gpu.scratch(1 << 20), 0xff, std::size_t(gpu.scratch_bytes())));
  check(cudaDeviceSynchronize());
}

void check_forward(const Case<Space::device>& device, const Case<Space::host>& host) {
  CHECK(values_of<std::int32_t>(device.ids) == host.ids.values());
  CHECK(values_of<std::int32_t>(device.counts) == host.counts.values());
  CHECK(relative_error(values_of<float>(device.log_sum_exp), host.log_sum_exp.values()) < 1e-5);
  CHECK(relative_error(values_of<float>(device.weights), host.weights.values()) < 1e-5);
  CHECK(relative_error(values_of<float>(device.probability_sums), host.probability_sums.values()) < 1e-5);
  CHECK(relative_error(values_of<float>(device.square_sum), host.square_sum.values()) < 1e-5);
}

void check_case(Device& gpu, Sizes sizes, Options options) {
  CAPTURE(sizes.tokens, sizes.experts, sizes.top_k, sizes.valid_tokens, int(options.weight_sum),
          int(options.routing));
  const Case<Space::host> host(sizes, options);
  const Case<Space::device> device(sizes, options);
  fill_normal(host.logits, 1), fill_normal(host.dweights, 2), fill_normal(host.aux_gradient, 3);
  upload_inputs(host, device);
  poison_scratch(gpu);
  router_forward(device.forward(), gpu.queue());
  router_forward(host.forward());
  check_forward(device, host);
  CHECK(relative_error(values_of<float>(device.probabilities), host.probabilities.values()) < 1e-5);
  router_backward(device.backward(), gpu.queue());
  router_backward(host.backward());
  CHECK(relative_error(values_of<float>(device.dlogits), host.dlogits.values()) < 1e-5);
  const Tensor<bf16, 2, Space::device> rounded(device.dlogits.shape());
  poison(rounded);
  router_backward(device.backward_into(rounded.view()), gpu.queue());
  CHECK(relative_error(values_of<float>(rounded), host.dlogits.values()) < test::kTolerance<bf16>);
}

}  // namespace

TEST_CASE("router on the device agrees with the host twin", "[kernels][router][gpu]") {
  Device gpu(0);
  const Sizes all[] = {{1, 1, 1, 1},      {1, 8, 2, 1},       {33, 128, 8, 30},   {300, 128, 8, 300},
                       {65, 60, 4, 65},   {40, 100, 6, 0},    {1100, 7, 7, 1090}, {35, 256, 8, 35},
                       {50, 512, 10, 49}, {20, 1000, 32, 20}, {9, 1024, 2, 9}};
  for (const Sizes sizes : all) {
    for (const WeightSum weight_sum : {WeightSum::as_is, WeightSum::sum_to_one}) {
      check_case(gpu, sizes, {.weight_sum = weight_sum});
      check_case(gpu, sizes, {.weight_sum = weight_sum, .routing = Routing::even, .z_coefficient = 0.3f});
    }
  }
}

TEST_CASE("router on the device takes the lower id first at a tie", "[kernels][router][gpu]") {
  Device gpu(0);
  for (const std::int64_t experts : {40, 128, 300}) {
    const Sizes sizes{70, experts, 8, 70};
    const Case<Space::host> host(sizes, {});
    const Case<Space::device> device(sizes, {});
    fill_normal(host.logits, 4);
    for (std::int64_t i = 0; i < host.logits.count(); ++i) host.logits[i] = std::round(host.logits[i]);
    for (std::int64_t e = 0; e < experts; ++e) host.logits[e] = 0;  // all of token 0 alike
    upload_inputs(host, device);
    poison_scratch(gpu);
    router_forward(device.forward(), gpu.queue());
    router_forward(host.forward());
    check_forward(device, host);
  }
}

TEST_CASE("router on the device works in place, with the same bits every time", "[kernels][router][gpu]") {
  Device gpu(0);
  const Sizes sizes{500, 128, 8, 490};
  const Case<Space::host> host(sizes, {});
  const Case<Space::device> device(sizes, {});
  fill_normal(host.logits, 5);
  upload_inputs(host, device);
  poison_scratch(gpu);
  router_forward(device.forward(), gpu.queue());
  const auto probabilities = values_of<float>(device.probabilities);
  const auto sums = values_of<float>(device.probability_sums), square = values_of<float>(device.square_sum);
  poison_scratch(gpu);
  RouterForward<Space::device> in_place = device.forward();
  in_place.probabilities = device.logits.view();
  router_forward(in_place, gpu.queue());
  CHECK(values_of<float>(device.logits) == probabilities);
  CHECK(values_of<float>(device.probability_sums) == sums);
  CHECK(values_of<float>(device.square_sum) == square);
}

TEST_CASE("router on the device without tokens has statistics of zero", "[kernels][router][gpu]") {
  Device gpu(0);
  const Case<Space::device> device({0, 40, 2, 0}, {});
  poison(device.counts), poison(device.probability_sums), poison(device.square_sum);
  check(cudaDeviceSynchronize());
  router_forward(device.forward(), gpu.queue());
  router_backward(device.backward(), gpu.queue());
  CHECK(values_of<std::int32_t>(device.counts) == std::vector<std::int32_t>(40));
  CHECK(values_of<float>(device.probability_sums) == std::vector<float>(40));
  CHECK(values_of<float>(device.square_sum) == std::vector<float>(1));
}

TEST_CASE("router on the device says what it has no room for", "[kernels][router][gpu]") {
  Device gpu(0);
  const Case<Space::device> device({1, 1025, 2, 1}, {});
  CHECK_THROWS_WITH(router_forward(device.forward(), gpu.queue()),
                    "router: top_k 2 of 1025 experts; on a device at most 32 of 1024");
}
