#include <cmath>
#include <random>

#include "kernels/device/device.h"
#include "tests/models/model_rig.h"
#include "tests/models/tiny_configs.h"
#include "tests/support/catch.h"

using namespace moebius;
using test::Approx;

// The same model, from the same random weights, on the host in fp32 and on the device: log-probabilities,
// losses and gradients.

namespace {

/// Sizes that the tensor core kernels and cuDNN take.
models::ModelConfig small_moe() {
  return models::read_config(R"({
    "model_type": "qwen3_moe", "vocab_size": 512, "hidden_size": 256, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "intermediate_size": 384,
    "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 128, "norm_topk_prob": true,
    "mlp_only_layers": [1], "tie_word_embeddings": false,
    "initializer_range": 0.08, "rope_theta": 10000})",
                             "small_moe");
}

test::Packed random_batch(std::int64_t vocab) {
  std::mt19937 engine(5);
  test::Packed packed;
  for (const int length : {50, 1, 97, 30}) {
    test::Row row;
    for (int t = 0; t < length; ++t) {
      row.ids.push_back(std::int32_t(engine() % std::uint32_t(vocab)));
      row.labels.push_back(t % 3 == 1 ? -100 : row.ids.back());
    }
    packed.append(row);
  }
  return packed;
}

template <Platform P>
struct DeviceModel {
  kernels::Device device{0};
  std::unique_ptr<parallel::Exchange<Space::device>> exchange =
      parallel::make_local_exchange<Space::device>();
  test::Rig<P> rig;
  explicit DeviceModel(const models::ModelConfig& config,
                       typename test::Rig<P>::Options options = {.longest = 512},
                       const std::optional<models::AdapterSettings>& adapter = {})
      : rig(config, *exchange, options, device.queue(), adapter) {}
};

struct HostModel {
  std::unique_ptr<parallel::Exchange<Space::host>> exchange = parallel::make_local_exchange<Space::host>();
  test::ModelRig rig;
  explicit HostModel(const models::ModelConfig& config,
                     const std::optional<models::AdapterSettings>& adapter = {})
      : rig(config, *exchange, {.longest = 512}, {}, adapter) {}
};

struct Trained {
  test::StepResult result;
  std::vector<float> gradients;
};

/// Two micro batches, of which the first overwrites what was there.
template <Platform P>
Trained trained(test::Rig<P>& rig) {
  const layers::AuxCoefficients coefficients{0.5, 0.1};
  const test::Packed packed = random_batch(rig.config().vocab);
  const auto result = test::train_micro_batch(rig, packed, 100, coefficients, kernels::Into::overwrite);
  static_cast<void>(test::train_micro_batch(rig, packed, 100, coefficients, kernels::Into::add));
  return {result, rig.host_gradients()};
}

double relative_error(const std::vector<float>& got, const std::vector<float>& expected, std::int64_t begin,
                      std::int64_t count) {
  double difference = 0, norm = 0;
  for (std::int64_t i = begin; i < begin + count; ++i) {
    const double a = double(got[std::size_t(i)]), b = double(expected[std::size_t(i)]);
    if (!std::isfinite(a)) return INFINITY;
    difference += (a - b) * (a - b);
    norm += b * b;
  }
  return std::sqrt(difference / std::max(norm, 1e-30));
}

/// fp32 differs by the order of sums, through a few layers. bf16 rounds every activation (2^-9 each, some
/// dozens on the way) and may send a token whose experts are close to a tie elsewhere.
struct Tolerance {
  double loss, gradient;
};
constexpr Tolerance kFp32{2e-6, 2e-4}, kBf16{5e-3, 0.1};

template <Platform P>
void check_against_host(const models::ModelConfig& config, const Tolerance& tolerance,
                        const std::optional<models::AdapterSettings>& adapter = {}) {
  const auto& [loss_tolerance, gradient_tolerance] = tolerance;
  HostModel host(config, adapter);
  DeviceModel<P> device(config, {.longest = 512}, adapter);
  const Trained expected = trained(host.rig), got = trained(device.rig);
  CHECK(got.result.loss == Approx(expected.result.loss).epsilon(loss_tolerance));
  CHECK(got.result.aux == Approx(expected.result.aux).epsilon(50 * loss_tolerance));
  CHECK(got.result.z == Approx(expected.result.z).epsilon(10 * loss_tolerance));
  for (std::size_t i = 0; i < host.rig.layout().count(); ++i) {
    INFO(host.rig.layout().table()[i].name);
    const auto& row = host.rig.layout().row(i);
    CHECK(relative_error(got.gradients, expected.gradients, row.offset, row.size) < gradient_tolerance);
  }
}

}  // namespace

TEST_CASE("fp32 on the device trains like the host", "[models][gpu]") {
  for (const auto& config : {test::tiny_moe(), test::tiny_dense(), small_moe()})
    check_against_host<DeviceFp32>(config, kFp32);
}

TEST_CASE("bf16 on the device trains like the host to its rounding", "[models][gpu]") {
  for (const auto& config : {test::tiny_dense(), small_moe()}) {
    check_against_host<DeviceBf16>(config, kBf16);
    check_against_host<DeviceBf16Gradients>(config, kBf16);
  }
}

// Ranks that the grouped products take and that they do not; the same draws drop the same inputs.
TEST_CASE("adapters on the device train like those on the host", "[models][adapter][gpu]") {
  for (const std::int64_t rank : {3, 8}) {
    const models::AdapterSettings adapter{
        .rank = rank, .alpha = 8, .dropout = 0.1, .targets = {"all-linear", "all-router"}};
    for (const auto& config : {test::tiny_moe(), small_moe()})
      check_against_host<DeviceFp32>(config, kFp32, adapter);
    check_against_host<DeviceBf16>(small_moe(), kBf16, adapter);
    check_against_host<DeviceBf16Gradients>(small_moe(), kBf16, adapter);
  }
}

TEST_CASE("scores on the device are those of the host", "[models][gpu]") {
  for (const auto& config : {test::tiny_moe(), test::tiny_dense(), small_moe()}) {
    HostModel host(config);
    DeviceModel<DeviceFp32> device(config);
    test::Row row;
    for (int t = 0; t < 77; ++t) row.ids.push_back(std::int32_t(t * 31 % config.vocab));
    row.labels = row.ids;
    const auto expected = test::score(host.rig, {row, row}), got = test::score(device.rig, {row, row});
    REQUIRE(got.size() == expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i] == Approx(expected[i]).margin(2e-5));
  }
}

TEST_CASE("recompute changes nothing on the device", "[models][gpu]") {
  DeviceModel<DeviceBf16> keeps(small_moe());
  const Trained expected = trained(keeps.rig);
  for (const auto recompute : {models::Recompute::selective, models::Recompute::full}) {
    for (const std::int64_t layers : {1, 2}) {
      DeviceModel<DeviceBf16> again(small_moe(),
                                    {.longest = 512, .recompute = recompute, .group_layers = layers});
      const Trained got = trained(again.rig);
      CHECK(got.result.loss == expected.result.loss);
      // attention's dq is summed in any order
      CHECK(relative_error(got.gradients, expected.gradients, 0, std::int64_t(expected.gradients.size())) <
            1e-3);
    }
  }
}
