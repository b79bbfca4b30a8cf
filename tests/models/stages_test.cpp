#include "models/stages.h"

#include "tests/models/tiny_configs.h"
#include "tests/support/catch.h"

using namespace moebius;
using namespace moebius::models;

namespace {

/// Dense layers, all alike; the head costs `head` of them.
ModelConfig plain(std::int64_t layers, double head) {
  ModelConfig config = test::tiny_dense();
  config.layers = layers;
  config.is_moe_layer.assign(std::size_t(layers), false);
  const double hidden = double(config.hidden), q = double(config.heads * config.head_dim);
  const double layer = hidden * 4 * q + 4096 * q + 3 * hidden * double(config.dense_width);
  config.vocab = std::int64_t(head * layer / hidden);
  return config;
}

std::vector<std::int64_t> sizes(const Stages& stages) {
  std::vector<std::int64_t> all;
  for (std::int64_t chunk = 0; chunk < stages.chunks(); ++chunk) {
    for (std::int64_t stage = 0; stage < stages.pipeline(); ++stage)
      all.push_back(stages.layers(stage, chunk).size());
  }
  return all;
}

using Sizes = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("layers lie evenly over the stages, the head counting as the layers that it costs",
          "[models][stages]") {
  CHECK(sizes(stages_of(plain(8, 0.01), 4)) == Sizes{2, 2, 2, 2});
  CHECK(sizes(stages_of(plain(14, 2), 4)) == Sizes{4, 4, 4, 2});
  CHECK(sizes(stages_of(plain(13, 3), 4)) == Sizes{4, 4, 4, 1});
  CHECK(sizes(stages_of(plain(15, 0.9), 4, 2)) == Sizes{2, 2, 2, 2, 2, 2, 2, 1});
  CHECK(sizes(stages_of(plain(7, 100), 4)) == Sizes{2, 2, 2, 1});
  CHECK(sizes(stages_of(plain(3, 1), 1)) == Sizes{3});
  CHECK_THROWS_AS(stages_of(plain(3, 1), 2, 2), std::logic_error);
}

TEST_CASE("what does not divide lies so that the dearest stage costs least", "[models][stages]") {
  const Stages stages = stages_of(plain(10, 0.5), 4);
  for (const std::int64_t size : sizes(stages)) CHECK((size == 2 || size == 3));
  CHECK(sizes(stages).back() == 2);
}

TEST_CASE("chunks take turns over the stages", "[models][stages]") {
  const Stages stages(2, {{0, 2}, {2, 3}, {3, 5}, {5, 6}});
  CHECK(stages.chunks() == 2);
  CHECK(stages.layers(0, 1) == Range{3, 5});
  CHECK(stages.layers(1, 0) == Range{2, 3});
  CHECK(stages.is_first(0, 0));
  CHECK(!stages.is_first(0, 1));
  CHECK(stages.is_last(1, 1));
  CHECK(!stages.is_last(1, 0));
  CHECK(stages.holds(0, {Site::Kind::layer, 4}));
  CHECK(!stages.holds(1, {Site::Kind::layer, 4}));
  CHECK(stages.holds(0, {Site::Kind::both_ends}));
  CHECK(stages.holds(1, {Site::Kind::both_ends}));
  CHECK(!stages.holds(0, {Site::Kind::head}));
  CHECK(Stages().holds(0, {Site::Kind::layer, 93}));
}
