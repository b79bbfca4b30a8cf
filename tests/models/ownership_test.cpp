#include "models/ownership.h"

#include <algorithm>

#include "models/models.h"
#include "models/weight_state.h"
#include "tests/models/tiny_configs.h"
#include "tests/models/weight_cases.h"
#include "tests/support/catch.h"

using namespace moebius;
using namespace moebius::models;

namespace {

constexpr Ownership::Limits kShort{.bucket = 100, .least_part = 1};

constexpr std::array kMeshes{cluster::Degrees{},
                             cluster::Degrees{.tensor = 2},
                             cluster::Degrees{.tensor = 2, .context = 3},
                             cluster::Degrees{.expert = 4},
                             cluster::Degrees{.tensor = 4, .expert = 2, .expert_tensor = 2},
                             cluster::Degrees{.tensor = 12},
                             cluster::Degrees{.tensor = 2, .pipeline = 3, .expert = 2},
                             cluster::Degrees{.context = 12}};

struct Rank {
  Mesh mesh;
  ShardLayout layout;
  Ownership ownership;
  Rank(const ParameterTable& table, const Mesh& on, const Ownership::Limits& limits)
      : mesh(on),
        layout(table, on, stages_of(test::tiny_moe(), on.degree(Axis::pipeline))),
        ownership(layout, on, limits) {}
};

Range row_of(const ShardLayout& layout, std::size_t index) {
  return {layout.row(index).offset, layout.row(index).offset + layout.row(index).size};
}

}  // namespace

TEST_CASE("a rank that is alone owns the flat buffer as it is", "[models][ownership]") {
  const Rank rank(parameter_table(test::tiny_moe()), Mesh(), kShort);
  CHECK(rank.ownership.size() == rank.layout.size());
  const auto pieces = rank.ownership.pieces({3, rank.layout.size()});
  REQUIRE(pieces.size() == 1);
  CHECK(pieces[0].elements == Range{3, rank.layout.size()});
  CHECK(pieces[0].place == 3);
}

TEST_CASE("every element of a model has one rank that stands for it", "[models][ownership]") {
  const ParameterTable table = parameter_table(test::tiny_moe());
  for (const cluster::Degrees& degrees : kMeshes) {
    std::vector<std::vector<int>> owners;
    for (const Parameter& parameter : table) owners.emplace_back(std::size_t(parameter.size()), 0);
    for (std::int64_t index = 0; index < 24; ++index) {
      const Rank rank(table, Mesh(24, index, degrees), kShort);
      for (std::size_t i = 0; i < table.size(); ++i) {
        if (!rank.ownership.stands_for(i)) continue;
        for (const Run& run : runs_of(table[i], rank.layout.row(i).slab)) {
          const std::int64_t begin = rank.layout.row(i).offset + run.local;
          for (const auto& [owned, place] : rank.ownership.owned({begin, begin + run.count})) {
            for (std::int64_t e = owned.begin; e < owned.end; ++e)
              ++owners[i][std::size_t(run.whole + e - begin)];
          }
        }
      }
    }
    INFO(Mesh(24, 0, degrees).text());
    for (const auto& counts : owners) REQUIRE(std::ranges::all_of(counts, [](int n) { return n == 1; }));
  }
}

TEST_CASE("buckets are cut evenly, at the same places on all ranks of a stage, and tile the buffer",
          "[models][ownership]") {
  const ParameterTable table = parameter_table(test::tiny_moe());
  for (const cluster::Degrees& degrees : kMeshes) {
    for (std::int64_t index = 0; index < 24; ++index) {
      const std::int64_t stage = index * degrees.pipeline / 24;
      const Rank first(table, Mesh(24, stage * 24 / degrees.pipeline, degrees), kShort);
      const Rank rank(table, Mesh(24, index, degrees), kShort);
      INFO(rank.mesh.text() << ", rank " << index);
      std::int64_t end = 0, place = 0;
      REQUIRE(rank.ownership.buckets().size() == first.ownership.buckets().size());
      for (std::size_t b = 0; b < rank.ownership.buckets().size(); ++b) {
        const Ownership::Bucket& bucket = rank.ownership.buckets()[b];
        const std::int64_t degree = rank.mesh.degree(bucket.axis);
        CHECK(bucket.elements == first.ownership.buckets()[b].elements);
        CHECK(bucket.elements.begin == end);
        CHECK(bucket.own.size() * degree == bucket.elements.size());
        CHECK(bucket.own.size() % ShardLayout::kGrain == 0);
        CHECK(bucket.own.begin - bucket.elements.begin == rank.mesh.index(bucket.axis) * bucket.own.size());
        CHECK(bucket.place == place);
        if (degree > 1) CHECK(bucket.elements.size() < 100 + 8 * degree);
        end = bucket.elements.end;
        place += bucket.own.size();
      }
      CHECK(end == rank.layout.size());
      CHECK(place == rank.ownership.size());
    }
  }
}

TEST_CASE("with four data ranks each owns a quarter", "[models][ownership]") {
  for (const ModelConfig& config : {test::tiny_moe(), test::tiny_dense()}) {
    const Rank rank(parameter_table(config), Mesh(4, 3, {}), {});
    CHECK(4 * rank.ownership.size() == rank.layout.size());
    const Rank alone(parameter_table(config), Mesh(), {});
    CHECK(rank.layout.size() == alone.layout.size());
  }
}

TEST_CASE("both ends of a pipeline own the same of a table that both have", "[models][ownership]") {
  const ParameterTable table = parameter_table(test::tiny_moe());  // tied embeddings
  const cluster::Degrees degrees{.tensor = 2, .pipeline = 3};
  for (std::int64_t index = 0; index < 8; ++index) {
    const Rank first(table, Mesh(24, index, degrees), kShort);
    const Rank last(table, Mesh(24, 16 + index, degrees), kShort);
    const auto here = first.ownership.owned(row_of(first.layout, 0));
    const auto there = last.ownership.owned(row_of(last.layout, 0));
    REQUIRE(here.size() == there.size());
    CHECK_FALSE(here.empty());
    for (std::size_t i = 0; i < here.size(); ++i) CHECK(here[i].elements == there[i].elements);
    CHECK(first.ownership.stands_for(0));
    CHECK_FALSE(last.ownership.stands_for(0));
  }
}

TEST_CASE("a vocabulary that does not divide leaves the places alike", "[models][ownership]") {
  const std::vector<Parameter> table{{.name = "embedding", .shape = {11, 64}, .splits = {{Axis::tensor, 0}}},
                                     {.name = "norm", .shape = {64}, .decay = Decay::no}};
  for (std::int64_t index = 0; index < 4; ++index) {
    const ShardLayout layout(table, Mesh(4, index, {.tensor = 4}));
    CHECK(layout.row(1).offset == 3 * 64 + 64);
    CHECK(layout.size() == 3 * 64 + 64 + 128);
  }
}

TEST_CASE("a range falls into owned pieces and others", "[models][ownership]") {
  const Rank rank(test::cut_table(40), Mesh(2, 1, {}), kShort);  // buckets of 112: 56 each
  const auto pieces = rank.ownership.pieces({50, 224});
  REQUIRE(pieces.size() == 4);
  CHECK(pieces[0].elements == Range{50, 56});
  CHECK_FALSE(pieces[0].place);
  CHECK(pieces[1].elements == Range{56, 112});
  CHECK(pieces[1].place == 0);
  CHECK(pieces[2].elements == Range{112, 168});
  CHECK_FALSE(pieces[2].place);
  CHECK(pieces[3].elements == Range{168, 224});
  CHECK(pieces[3].place == 56);
  CHECK(rank.ownership.pieces({60, 60}).empty());
  CHECK(rank.ownership.owned({0, 56}).empty());
}

TEST_CASE("a random start and what is put leave the same weights with every owner, and one truth",
          "[models][ownership]") {
  using Weights = test::OwnedWeights<bf16, Space::host>;
  const auto truth = GENERATE(Truth::weights, Truth::master, Truth::remainder);
  const cluster::Degrees degrees{.tensor = 2};
  const Mesh alone_mesh(2, 1, degrees);
  Weights alone(test::cut_table(1000), alone_mesh, truth, {});
  initialise(alone.state, 5, {});
  const std::vector<float> put = test::awkward_values(alone.layout.row(2).size);
  for (const bool starts : {true, false}) {
    if (!starts) alone.put(2, put);
    for (const std::int64_t index : {1, 3, 5}) {
      Weights shared(test::cut_table(1000), Mesh(6, index, degrees), truth, {});
      initialise(shared.state, 5, {});
      if (!starts) shared.put(2, put);
      for (std::size_t i = 0; i < alone.layout.count(); ++i) {
        const bool whole = truth == Truth::weights;
        CHECK(
            test::same_bits(shared.values(i), whole ? alone.values(i) : shared.owned_of(i, alone.values(i))));
        const Range ours = row_of(shared.layout, i), theirs = row_of(alone.layout, i);
        REQUIRE(std::equal(
            shared.state.weights.flat().data + ours.begin, shared.state.weights.flat().data + ours.end,
            alone.state.weights.flat().data + theirs.begin, [](bf16 a, bf16 b) { return a.bits == b.bits; }));
      }
    }
  }
}

TEST_CASE("what another rank owns cannot be had", "[models][ownership]") {
  using Weights = test::OwnedWeights<bf16, Space::host>;
  Weights weights(test::cut_table(1000), Mesh(2, 0, {}), Truth::master, {});
  std::vector<float> out(6000);
  const Run all{0, 0, 6000};
  CHECK_THROWS_AS(
      ShardDownload(weights.state, {}).get(0, {&all, 1}, reinterpret_cast<std::byte*>(out.data())),
      std::logic_error);
}
