#include "kernels/loss/preference.h"
#include "tests/support/catch.h"
#include "tests/support/device_tensors.h"

using namespace moebius;
using namespace moebius::kernels;
using test::DeviceTensor;
using test::Tensor;

namespace {

/// Answers of no target, of one, of a block's threads and one more, and of many.
const std::vector<std::int32_t> kLengths{0, 1, 256, 257, 31, 5000, 2, 0};

}  // namespace

TEST_CASE("preference: the device twin agrees with the host twin", "[device][preference]") {
  Device gpu(0);
  const auto sequences = std::int64_t(kLengths.size());
  const Tensor<std::int32_t, 1> starts({sequences + 1});
  for (std::int64_t s = 0; s < sequences; ++s) starts[s + 1] = starts[s] + kLengths[std::size_t(s)];
  const std::int64_t targets = starts[sequences];
  const Tensor<float, 1> log_probabilities({targets}), reference({targets}), differences({sequences}),
      weights({targets});
  test::fill_normal(log_probabilities, 1, 3), test::fill_normal(reference, 2, 3);
  const DeviceTensor<float, 1> device_log_probabilities({targets}), device_reference({targets}),
      device_differences({sequences}), device_weights({targets});
  const DeviceTensor<std::int32_t, 1> device_starts({sequences + 1});
  test::put(log_probabilities, device_log_probabilities), test::put(reference, device_reference);
  test::put(starts, device_starts);

  sequence_differences({.log_probabilities = log_probabilities.view(),
                        .reference = reference.view(),
                        .target_starts = starts.view(),
                        .differences = differences.view()});
  test::poison(device_differences);
  sequence_differences(
      SequenceDifferences<Space::device>{.log_probabilities = device_log_probabilities.view(),
                                         .reference = device_reference.view(),
                                         .target_starts = device_starts.view(),
                                         .differences = device_differences.view()},
      gpu.queue());
  CHECK(test::relative_error(test::values_of<float>(device_differences), differences.values()) < 1e-6);

  for (const PreferenceLoss& loss :
       {PreferenceLoss{Preference::sigmoid, 0.1, 0.1}, PreferenceLoss{Preference::hinge, 0.1, 0},
        PreferenceLoss{Preference::ipo, 0.2, 0}}) {
    CAPTURE(int(loss.kind));
    test::put(differences, device_differences);
    test::poison(device_weights);
    preference_weights({.loss = loss,
                        .pair_share = 0.25,
                        .chosen_share = 0.01,
                        .differences = differences.view(),
                        .target_starts = starts.view(),
                        .weights = weights.view()});
    preference_weights(PreferenceWeights<Space::device>{.loss = loss,
                                                        .pair_share = 0.25,
                                                        .chosen_share = 0.01,
                                                        .differences = device_differences.view(),
                                                        .target_starts = device_starts.view(),
                                                        .weights = device_weights.view()},
                       gpu.queue());
    CHECK(test::relative_error(test::values_of<float>(device_weights), weights.values()) < 1e-6);
  }
}
