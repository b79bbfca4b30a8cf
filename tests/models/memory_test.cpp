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

/// How a model can be trained; the format says the same to the formula.
const models::AdapterSettings kAdapter{.rank = 3, .targets = {"all-linear", "all-router"}};
const models::AdapterSettings kDropping{
    .rank = 5, .dropout = 0.1, .targets = {"k_proj", "o_proj", "up_proj", "down_proj", "gate"}};
const models::MemoryFormat kFormats[] = {
    {},
    {.recompute = models::Recompute::selective},
    {.recompute = models::Recompute::full},
    {.recompute = models::Recompute::full, .group_layers = 2},
    {.recompute = models::Recompute::full, .group_layers = 7},  // more than there are
    {.adapter = kAdapter},
    {.adapter = kDropping},
    {.recompute = models::Recompute::selective, .adapter = kDropping},
    {.recompute = models::Recompute::full, .adapter = kAdapter},
};

std::vector<models::ModelConfig> configs() {
  std::vector<models::ModelConfig> all;
  for (const auto& config : {test::tiny_moe(), test::tiny_dense()}) {
    for (const bool tied : {false, true}) {
      all.push_back(config);
      all.back().tied_embeddings = tied;
    }
  }
  return all;
}

}  // namespace

TEST_CASE("the memory formula of training is what the arenas report", "[models][memory]") {
  for (const auto& config : configs()) {
    for (const std::int64_t tokens : {1, 37, 256}) {
      for (const models::MemoryFormat& format : kFormats) {
        INFO(config.family << ", " << tokens << " tokens, recompute " << int(format.recompute) << " of "
                           << format.group_layers << " layers, tied " << config.tied_embeddings);
        const auto exchange = parallel::make_local_exchange<Space::host>();
        const test::Packed packed = packed_of(tokens, config.vocab);
        const models::MicroBatchShape shape{.tokens = tokens, .targets = targets_in(packed)};
        test::ModelRig rig(
            config, *exchange,
            {.longest = 512, .recompute = format.recompute, .group_layers = format.group_layers}, {},
            format.adapter);
        test::train_micro_batch(rig, packed, 1);
        const models::ModelMemory memory =
            models::training_memory(config, models::Mesh(), shape, 512, format);
        CHECK(rig.activations().peak_bytes() == memory.activations + memory.lists);
        CHECK(rig.remade().peak_bytes() == memory.remade);
        CHECK(rig.workspace().peak_bytes() == memory.workspace);
        const std::int64_t learning = format.adapter ? memory.factors : memory.weights;
        CHECK(rig.layout().size() * 4 <= learning);
        CHECK(rig.layout().size() * 4 > learning - 64);
        CHECK(memory.gradients == learning);
        CHECK(memory.total() > memory.weights + 3 * learning);
      }
    }
  }
}

TEST_CASE("the memory formula of scoring is what the arenas report", "[models][memory]") {
  for (const auto& config : configs()) {
    for (const std::int64_t tokens : {37, 256}) {
      INFO(config.family << ", " << tokens << " tokens");
      const auto exchange = parallel::make_local_exchange<Space::host>();
      const test::Packed packed = packed_of(tokens, config.vocab);
      const models::MicroBatchShape shape{.tokens = tokens, .targets = targets_in(packed)};
      test::ModelRig rig(config, *exchange);
      const models::HostBatch batch(packed.view(), {});
      test::ModelRig::Decoder::Saved saved(rig.decoder());
      const auto hidden = rig.decoder().forward(batch.view(), test::ModelRig::Decoder::Keep::nothing, saved);
      std::vector<float> values(std::size_t(shape.targets));
      rig.decoder().log_probabilities(hidden, batch.view(), {values.data(), {shape.targets}});
      const models::ModelMemory memory = models::scoring_memory(config, models::Mesh(), shape, 512);
      CHECK(rig.activations().peak_bytes() == memory.activations);
      CHECK(rig.workspace().peak_bytes() == memory.workspace);
      CHECK(memory.moments == 0);
    }
  }
}
