#include "objectives/sft.h"

#include "objectives/host_batch.h"
#include "tests/models/model_rig.h"
#include "tests/models/tiny_configs.h"
#include "tests/objectives/one_stage.h"
#include "tests/support/catch.h"

using namespace moebius;

namespace {

data::MicroBatch weighted_batch() {
  const data::Sample first{{3, 9, 4, 1, 7}, {-100, 9, -100, 1, 7}, {0, 1, 0, 0.5f, 2}};
  const data::Sample second{{8, 2, 6}, {-100, 2, 6}, {}};
  data::MicroBatch batch;
  batch.append(first.view());
  batch.append(second.view());
  return batch;
}

}  // namespace

TEST_CASE("the SFT loss weighs each trained token by its loss scale", "[objectives][sft]") {
  const auto exchange = parallel::make_local_exchange<Space::host>();
  test::ModelRig rig(test::tiny_moe(), *exchange);
  test::OneStage sft(rig.decoder());
  const data::MicroBatch batch = weighted_batch();
  REQUIRE(batch.trained() == 5);

  // The same from the log-probabilities themselves.
  const models::HostBatch host = objectives::host_batch<Space::host>(batch, cluster::Mesh());
  models::Decoder<HostFp32>::Saved saved(rig.decoder());
  const auto hidden = rig.decoder().forward(host.view(), models::Decoder<HostFp32>::Keep::nothing, saved);
  std::vector<float> log_probabilities(5);
  rig.decoder().log_probabilities(hidden, host.view(), {log_probabilities.data(), {5}});
  const std::vector<float> scale{1, 0.5f, 2, 1, 1};
  double expected = 0;
  for (std::size_t i = 0; i < scale.size(); ++i) expected -= double(scale[i]) * log_probabilities[i];

  CHECK(sft.loss_sum(batch) == test::Approx(expected));
  CHECK(sft.loss_sum(sft.train(batch, 5, rig.gradients())) == test::Approx(expected));
}

TEST_CASE("SFT gradients are those of the loss divided by the batch's trained tokens", "[objectives][sft]") {
  const auto exchange = parallel::make_local_exchange<Space::host>();
  test::ModelRig rig(test::tiny_dense(), *exchange);
  test::OneStage sft(rig.decoder());
  const data::MicroBatch batch = weighted_batch();
  constexpr std::int64_t kTrained = 12;  // of the global batch: this micro batch has 5 of them
  (void)sft.train(batch, kTrained, rig.gradients());

  const std::size_t row = rig.layout().index_of("layers.1.mlp.down");
  for (const std::int64_t element : {0, 17, 101}) {
    float& weight = rig.weights()[row].data[element];
    const float before = weight, step = 2e-2f;
    weight = before + step;
    const double above = sft.loss_sum(batch);
    weight = before - step;
    const double below = sft.loss_sum(batch);
    weight = before;
    const double slope = (above - below) / (2 * double(step)) / double(kTrained);
    CHECK(rig.gradients()[row](element) == test::Approx(slope).epsilon(0.02).margin(2e-5));
  }
}

TEST_CASE("an empty micro batch adds nothing", "[objectives][sft]") {
  const auto exchange = parallel::make_local_exchange<Space::host>();
  test::ModelRig rig(test::tiny_moe(), *exchange);
  test::OneStage sft(rig.decoder());
  CHECK(sft.loss_sum(sft.train({}, 5, rig.gradients())) == 0);
  for (std::int64_t i = 0; i < rig.gradients().flat().size(); ++i) CHECK(rig.gradients().flat()(i) == 0);
}
