#include "models/memory.h"

#include "tests/models/model_rig.h"
#include "tests/models/tiny_configs.h"
#include "tests/support/catch.h"

using namespace moebius;

namespace {

test::Packed packed_of(std::int64_t tokens, std::int64_t vocab) {
  test::Row row;
  for (std::int64_t t = 0; t < tokens; ++t) {
    row.ids.push_back(std::int32_t(t * 7 % vocab));
    row.labels.push_back(t % 3 == 1 ? -100 : row.ids.back());
  }
  test::Packed packed;
  packed.append(row);
  return packed;
}

std::int64_t targets_in(const test::Packed& packed) {
  return std::ranges::count_if(packed.targets, [](std::int32_t target) { return target >= 0; });
}

}  // namespace

TEST_CASE("the memory formula is what the arenas report", "[models][memory]") {
  for (const auto& config : {test::tiny_moe(), test::tiny_dense()}) {
    for (const std::int64_t tokens : {37, 256}) {
      INFO(config.family << ", " << tokens << " tokens");
      const auto exchange = parallel::make_local_exchange<Space::host>();
      const test::Packed packed = packed_of(tokens, config.vocab);
      const models::MicroBatchShape shape{.tokens = tokens, .targets = targets_in(packed)};

      test::ModelRig training(config, *exchange);
      test::train_micro_batch(training, packed, 1);
      const models::ModelMemory trained = models::training_memory(config, models::Mesh(), shape, 512);
      CHECK(training.activations().peak_bytes() == trained.activations + trained.lists);
      CHECK(training.workspace().peak_bytes() == trained.workspace);
      CHECK(training.layout().size() * 4 <= trained.weights);
      CHECK(training.layout().size() * 4 > trained.weights - 64);
      CHECK(trained.total() > 4 * trained.weights);

      test::ModelRig scoring(config, *exchange);
      const models::HostBatch batch(packed.view(), 1);
      test::ModelRig::Decoder::Saved saved(scoring.decoder());
      const auto hidden =
          scoring.decoder().forward(batch.view(), test::ModelRig::Decoder::Keep::nothing, saved);
      std::vector<float> values(std::size_t(shape.targets));
      scoring.decoder().log_probabilities(hidden, batch.view(), {values.data(), {shape.targets}});
      const models::ModelMemory scored = models::scoring_memory(config, models::Mesh(), shape, 512);
      CHECK(scoring.activations().peak_bytes() == scored.activations);
      CHECK(scoring.workspace().peak_bytes() == scored.workspace);
      CHECK(scored.moments == 0);
    }
  }
}
