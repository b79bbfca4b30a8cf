#include <cmath>
#include <numeric>
#include <set>

#include "base/bf16.h"
#include "models/models.h"
#include "models/shards.h"
#include "tests/models/tiny_configs.h"
#include "tests/support/catch.h"

using namespace moebius;
using namespace moebius::models;

namespace {

const Parameter& row_named(const ParameterTable& table, const std::string& name) {
  for (const Parameter& parameter : table) {
    if (parameter.name == name) return parameter;
  }
  throw std::logic_error("no row " + name);
}

std::vector<Mesh> every_rank(std::int64_t size, const cluster::Degrees& degrees) {
  std::vector<Mesh> meshes;
  for (std::int64_t rank = 0; rank < size; ++rank) meshes.emplace_back(size, rank, degrees);
  return meshes;
}

constexpr std::array kMeshes{cluster::Degrees{}, cluster::Degrees{.tensor = 2}, cluster::Degrees{.tensor = 4},
                             cluster::Degrees{.expert = 4}, cluster::Degrees{.tensor = 2, .expert = 8}};

}  // namespace

TEST_CASE("a table has the tensors of a Hugging Face folder, each once", "[models][table]") {
  const ParameterTable table = parameter_table(test::tiny_moe());
  std::set<std::string> names;
  for (const Parameter& parameter : table) {
    std::int64_t elements = 0;
    for (const HubTensor& tensor : hub_tensors(parameter)) {
      CHECK(names.insert(tensor.name).second);
      elements +=
          std::accumulate(tensor.shape.begin(), tensor.shape.end(), std::int64_t{1}, std::multiplies<>());
    }
    CHECK(elements == parameter.size());
  }
  CHECK(names.contains("model.layers.2.mlp.experts.7.down_proj.weight"));
  CHECK(names.contains("model.layers.1.mlp.gate_proj.weight"));
  CHECK(names.contains("model.layers.0.self_attn.o_proj.bias"));
  CHECK_FALSE(names.contains("lm_head.weight"));
  CHECK_FALSE(names.contains("model.layers.1.mlp.experts.0.down_proj.weight"));
  // 2 embeddings and norm; a layer: 2 norms, 4 weights, 4 biases, 2 head norms; experts 1 + 8 * 3; dense 3
  CHECK(names.size() == 2 + 3 * 12 + 2 * 25 + 3);
}

TEST_CASE("hub tensors stand where they belong in the parameter", "[models][table]") {
  const ParameterTable table = parameter_table(test::tiny_moe());
  const auto experts = hub_tensors(row_named(table, "layers.0.experts.gate_up"));
  REQUIRE(experts.size() == 16);
  CHECK(experts[5].name == "model.layers.0.mlp.experts.2.up_proj.weight");
  CHECK(experts[5].index == std::vector<std::int64_t>{2, 1});
  CHECK(experts[5].shape == std::vector<std::int64_t>{12, 24});
  const auto dense = hub_tensors(row_named(table, "layers.1.mlp.gate_up"));
  REQUIRE(dense.size() == 2);
  CHECK(dense[1].index == std::vector<std::int64_t>{1});
  CHECK(hub_tensors(row_named(table, "norm")).front().index.empty());
}

TEST_CASE("decay leaves out biases and norms", "[models][table]") {
  for (const auto& config : {test::tiny_moe(), test::tiny_dense()}) {
    for (const Parameter& parameter : parameter_table(config)) {
      INFO(parameter.name);
      CHECK((parameter.decay == Decay::yes) == (parameter.shape.size() > 1));
    }
  }
}

TEST_CASE("owners' slabs cover each parameter exactly once on every mesh", "[models][table]") {
  for (const cluster::Degrees& degrees : kMeshes) {
    for (const Parameter& parameter : parameter_table(test::tiny_moe())) {
      INFO(parameter.name << ", tensor " << degrees.tensor << ", expert " << degrees.expert);
      std::vector<int> covered(std::size_t(parameter.size()), 0);
      for (const Mesh& mesh : every_rank(8, degrees)) {
        const Slab slab = local_slab(parameter, mesh);
        std::int64_t local = 0;
        for (const Run& run : runs_of(parameter, slab)) {
          REQUIRE(run.local == local);
          local += run.count;
          if (!is_owner(parameter, mesh)) continue;
          for (std::int64_t i = 0; i < run.count; ++i) ++covered[std::size_t(run.whole + i)];
        }
        REQUIRE(local == slab.size());
      }
      CHECK(std::ranges::all_of(covered, [](int times) { return times == 1; }));
    }
  }
}

TEST_CASE("over pipeline stages too each element has one owner, and stages hold their rows alone",
          "[models][table]") {
  for (const auto& config : {test::tiny_moe(), test::tiny_dense()}) {  // tied and not
    const Stages stages = stages_of(config, 2);
    const ParameterTable table = parameter_table(config);
    std::vector<std::vector<int>> covered;
    for (const Parameter& parameter : table) covered.emplace_back(std::size_t(parameter.size()), 0);
    for (const Mesh& mesh : every_rank(8, {.tensor = 2, .pipeline = 2})) {
      const ShardLayout layout(table, mesh, stages);
      for (std::size_t i = 0; i < table.size(); ++i) {
        const auto& row = layout.row(i);
        REQUIRE((row.size > 0) == stages.holds(mesh.index(Axis::pipeline), table[i].site));
        for (const Run& run : runs_of(table[i], row.slab)) {
          if (!row.owned) continue;
          for (std::int64_t e = 0; e < run.count; ++e) ++covered[i][std::size_t(run.whole + e)];
        }
      }
    }
    for (const auto& row : covered) CHECK(std::ranges::all_of(row, [](int times) { return times == 1; }));
  }
  CHECK_THROWS_AS(ShardLayout(parameter_table(test::tiny_moe()), Mesh(2, 0, {.pipeline = 2})),
                  std::logic_error);
}

TEST_CASE("queries, keys and values are one matrix in memory", "[models][table]") {
  const ShardLayout layout(parameter_table(test::tiny_moe()), Mesh(8, 3, {.tensor = 2}));
  for (const char* suffix : {"", "_bias"}) {
    const std::string own = "layers.2.attention.";
    const auto& q = layout.row(layout.index_of(own + "q" + suffix));
    const auto& k = layout.row(layout.index_of(own + "k" + suffix));
    const auto& v = layout.row(layout.index_of(own + "v" + suffix));
    CHECK(k.offset == q.offset + q.size);
    CHECK(v.offset == k.offset + k.size);
    CHECK(q.offset * sizeof(bf16) % 256 == 0);
  }
  CHECK_THROWS_WITH(layout.index_of("layers.9.norm"), "no parameter is called layers.9.norm");
}

TEST_CASE("start values do not depend on the mesh", "[models][table]") {
  const ParameterTable table = parameter_table(test::tiny_moe());
  Arena<Space::host> memory("weights");
  const ShardLayout whole_layout(table, Mesh());
  const Shards<float, Space::host> whole(whole_layout, memory);
  initialise(whole, 5);
  for (const Mesh& mesh : every_rank(8, {.tensor = 2, .expert = 4})) {
    const ShardLayout layout(table, mesh);
    const Shards<float, Space::host> shards(layout, memory);
    initialise(shards, 5);
    for (std::size_t i = 0; i < layout.count(); ++i) {
      for (const Run& run : runs_of(table[i], layout.row(i).slab)) {
        for (std::int64_t e = 0; e < run.count; ++e) {
          REQUIRE(shards[i](run.local + e) == whole[i](run.whole + e));
        }
      }
    }
  }
}

TEST_CASE("start values have the deviation that the config says", "[models][table]") {
  const ParameterTable table = parameter_table(test::tiny_moe());
  Arena<Space::host> memory("weights");
  const ShardLayout layout(table, Mesh());
  const Shards<float, Space::host> weights(layout, memory);
  initialise(weights, 5);
  const auto experts = weights[layout.index_of("layers.0.experts.gate_up")];
  double sum = 0, squares = 0;
  for (std::int64_t i = 0; i < experts.size(); ++i) sum += experts(i), squares += experts(i) * experts(i);
  const double count = double(experts.size());  // 4608: the mean is within 4 standard errors
  CHECK(std::abs(sum / count) < 4 * 0.3 / std::sqrt(count));
  CHECK(std::sqrt(squares / count) == test::Approx(0.3).epsilon(0.05));
  for (const float gain :
       {weights[layout.index_of("norm")](3), weights[layout.index_of("layers.1.attention.q_norm")](1)}) {
    CHECK(gain == 1);
  }
  CHECK(weights[layout.index_of("layers.0.attention.k_bias")](2) == 0);
}
