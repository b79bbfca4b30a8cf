#include "kernels/loss/cross_entropy.h"
#include "tests/support/catch.h"
#include "tests/support/device_tensors.h"

using namespace moebius;
using namespace moebius::kernels;
using test::kTolerance;
using test::relative_error;
using test::Tensor;
using test::values_of;

namespace {

template <class T, Space S>
struct Case {
  Tensor<T, 2, S> logits;
  Tensor<std::int32_t, 1, S> labels;
  Tensor<float, 1, S> weights, row_max, sum_exp, label_logit, log_probability, local_max;
  std::int64_t vocab_begin;

  Case(std::int64_t tokens, std::int64_t columns, std::int64_t first_column)
      : logits({tokens, columns}),
        labels({tokens}),
        weights({tokens}),
        row_max({tokens}),
        sum_exp({tokens}),
        label_logit({tokens}),
        log_probability({tokens}),
        local_max({tokens}),
        vocab_begin(first_column) {}
  CrossEntropyStatistics<T, S> statistics() const {
    return {.logits = logits.view(),
            .labels = labels.view(),
            .vocab_begin = vocab_begin,
            .row_max = row_max.view(),
            .sum_exp = sum_exp.view(),
            .label_logit = label_logit.view()};
  }
  CrossEntropyRescale<S> rescale() const {
    return {.local_max = local_max.view(), .row_max = row_max.view(), .sum_exp = sum_exp.view()};
  }
  CrossEntropyLogProbability<S> log_probabilities() const {
    return {.labels = labels.view(),
            .row_max = row_max.view(),
            .sum_exp = sum_exp.view(),
            .label_logit = label_logit.view(),
            .log_probability = log_probability.view()};
  }
  CrossEntropy<T, S> whole() const {
    return {.logits = logits.view(),
            .labels = labels.view(),
            .weights = weights.view(),
            .log_probability = log_probability.view()};
  }
  CrossEntropyGradient<T, S> gradient() const {
    return {.logits = logits.view(),
            .labels = labels.view(),
            .weights = weights.view(),
            .vocab_begin = vocab_begin,
            .row_max = row_max.view(),
            .sum_exp = sum_exp.view()};
  }
};

/// Labels at the first and the last column, on either side of a pack's edge, on other ranks, and none; rows
/// far from zero.
void fill_inputs(const Case<float, Space::host>& host) {
  const auto [tokens, columns] = host.logits.shape();
  fill_normal(host.logits, 1, 3), fill_normal(host.weights, 2);
  const std::int64_t places[] = {0, columns - 1, 7, 8, -1, columns, columns / 2, 1};
  for (std::int64_t t = 0; t < tokens; ++t) {
    const std::int64_t label = std::min(places[t % 8], columns) + host.vocab_begin;
    host.labels[t] = t % 5 == 4 ? -100 : std::int32_t(std::max<std::int64_t>(label, 0));
    const float offset = t % 7 == 2 ? 500.0f : t % 7 == 3 ? -500.0f : 0.0f;
    for (std::int64_t c = 0; c < columns; ++c) host.logits.view()(t, c) += offset;
  }
  host.logits[std::min<std::int64_t>(columns, 3000) - 1] = 90;  // the maximum rises late in row 0
}

template <class T>
void upload_inputs(const Case<float, Space::host>& host, const Case<T, Space::device>& device) {
  put(host.logits, device.logits), put(host.labels, device.labels), put(host.weights, device.weights);
  poison(device.row_max), poison(device.sum_exp), poison(device.label_logit);
  poison(device.log_probability);
  check(cudaDeviceSynchronize());
}

/// The statistics are of the same numbers in either type, so only sums in another order differ.
template <class T>
void check_case(Device& gpu, std::int64_t tokens, std::int64_t columns, std::int64_t vocab_begin) {
  CAPTURE(sizeof(T), tokens, columns, vocab_begin);
  const Case<float, Space::host> host(tokens, columns, vocab_begin);
  const Case<T, Space::device> device(tokens, columns, vocab_begin);
  fill_inputs(host);
  test::round_to<T>(host.logits);
  upload_inputs(host, device);
  cross_entropy_statistics(device.statistics(), gpu.queue());
  cross_entropy_log_probability(device.log_probabilities(), gpu.queue());
  cross_entropy_gradient(device.gradient(), gpu.queue());
  cross_entropy_statistics(host.statistics());
  cross_entropy_log_probability(host.log_probabilities());
  cross_entropy_gradient(host.gradient());
  CHECK(values_of<float>(device.row_max) == host.row_max.values());
  CHECK(values_of<float>(device.label_logit) == host.label_logit.values());
  CHECK(relative_error(values_of<float>(device.sum_exp), host.sum_exp.values()) < 1e-5);
  CHECK(relative_error(values_of<float>(device.log_probability), host.log_probability.values()) < 1e-5);
  CHECK(relative_error(values_of<float>(device.logits), host.logits.values()) < kTolerance<T>);
}

/// The passes at once.
template <class T>
void check_whole(Device& gpu, std::int64_t tokens, std::int64_t columns) {
  CAPTURE(sizeof(T), tokens, columns);
  const Case<float, Space::host> host(tokens, columns, 0);
  const Case<T, Space::device> device(tokens, columns, 0);
  fill_inputs(host);
  for (std::int64_t t = 0; t < tokens; ++t)
    host.labels[t] = std::min(host.labels[t], std::int32_t(columns - 1));
  test::round_to<T>(host.logits);
  upload_inputs(host, device);
  cross_entropy(device.whole(), gpu.queue());
  cross_entropy(host.whole());
  CHECK(relative_error(values_of<float>(device.log_probability), host.log_probability.values()) < 1e-5);
  CHECK(relative_error(values_of<float>(device.logits), host.logits.values()) < kTolerance<T>);
}

}  // namespace

TEST_CASE("cross entropy on the device in one pass agrees with the host twin",
          "[kernels][cross_entropy][gpu]") {
  Device gpu(0);
  for (const std::int64_t columns : {1, 2, 7, 8, 9, 64, 4099, 5000, 20001, 100001}) {  // kept packs: 98304
    check_whole<float>(gpu, 11, columns);
    check_whole<bf16>(gpu, 11, columns);
  }
  check_whole<bf16>(gpu, 3, 151936);
  check_whole<float>(gpu, 3, 151936);
  const Case<bf16, Space::device> nothing(0, 100, 0);
  CHECK_NOTHROW(cross_entropy(nothing.whole(), gpu.queue()));
}

TEST_CASE("cross entropy on the device agrees with the host twin", "[kernels][cross_entropy][gpu]") {
  Device gpu(0);
  for (const std::int64_t columns : {1, 2, 7, 8, 9, 64, 4099, 5000, 20001}) {
    check_case<float>(gpu, 11, columns, 0);
    check_case<bf16>(gpu, 11, columns, 0);
    check_case<bf16>(gpu, 1, columns, 1234);
    check_case<float>(gpu, 8, columns, 1234);
  }
  check_case<bf16>(gpu, 3, 151936, 0);
  check_case<float>(gpu, 3, 151936, 0);
}

TEST_CASE("cross entropy on the device relates sums to another maximum", "[kernels][cross_entropy][gpu]") {
  Device gpu(0);
  const Case<float, Space::host> host(300, 10, 0);
  const Case<float, Space::device> device(300, 10, 0);
  fill_normal(host.local_max, 3, 5);
  for (std::int64_t t = 0; t < 300; ++t) {
    host.row_max[t] = host.local_max[t] + float(t % 4) * 0.7f;
    host.sum_exp[t] = 1 + float(t);
  }
  put(host.local_max, device.local_max), put(host.row_max, device.row_max);
  put(host.sum_exp, device.sum_exp);
  check(cudaDeviceSynchronize());
  cross_entropy_rescale(device.rescale(), gpu.queue());
  cross_entropy_rescale(host.rescale());
  CHECK(relative_error(values_of<float>(device.sum_exp), host.sum_exp.values()) < 1e-5);
}

TEST_CASE("cross entropy on the device lets a NaN through to the loss", "[kernels][cross_entropy][gpu]") {
  Device gpu(0);
  const Case<float, Space::host> host(3, 5000, 0);
  const Case<bf16, Space::device> device(3, 5000, 0);
  fill_inputs(host);
  host.logits.view()(1, 3000) = std::nanf("");
  for (std::int64_t c = 0; c < 2000; ++c) host.logits.view()(2, c) = -std::numeric_limits<float>::infinity();
  host.labels[2] = 4000;
  upload_inputs(host, device);
  cross_entropy_statistics(device.statistics(), gpu.queue());
  const auto sum_exp = values_of<float>(device.sum_exp);
  CHECK(std::isfinite(sum_exp[0]));
  CHECK(std::isnan(sum_exp[1]));
  CHECK(std::isfinite(sum_exp[2]));  // columns of -infinity add nothing
}

TEST_CASE("cross entropy on the device has the same bits every time", "[kernels][cross_entropy][gpu]") {
  Device gpu(0);
  const Case<float, Space::host> host(20, 9001, 0);
  const Case<bf16, Space::device> device(20, 9001, 0);
  fill_inputs(host);
  upload_inputs(host, device);
  cross_entropy_statistics(device.statistics(), gpu.queue());
  const auto sum_exp = values_of<float>(device.sum_exp);
  cross_entropy_statistics(device.statistics(), gpu.queue());
  CHECK(values_of<float>(device.sum_exp) == sum_exp);
}

TEST_CASE("cross entropy on the device has nothing to do without tokens", "[kernels][cross_entropy][gpu]") {
  Device gpu(0);
  const Case<bf16, Space::device> device(0, 100, 0);
  CHECK_NOTHROW(cross_entropy_statistics(device.statistics(), gpu.queue()));
  CHECK_NOTHROW(cross_entropy_log_probability(device.log_probabilities(), gpu.queue()));
  CHECK_NOTHROW(cross_entropy_rescale(device.rescale(), gpu.queue()));
  CHECK_NOTHROW(cross_entropy_gradient(device.gradient(), gpu.queue()));
}
