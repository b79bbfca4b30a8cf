#include "plan/traffic.h"

#include <set>

#include "models/config_reader.h"
#include "models/models.h"
#include "tests/end_to_end/tiny_job.h"
#include "tests/support/catch.h"

using namespace moebius;
using cluster::Mesh;

namespace {

struct Case {
  std::int64_t ranks;
  cluster::Degrees degrees;
  std::int64_t chunks = 1;
  models::Recompute recompute = models::Recompute::nothing;
  std::optional<models::AdapterSettings> adapter = {};
};

constexpr std::int64_t kTokens = 64, kBatch = 8;
const models::AdapterSettings kAdapter{.rank = 4, .dropout = 0.1};

/// With routing "even": how many of a rank's tokens go to each index of Axis::expert.
std::vector<std::int64_t> destinations(const models::ModelConfig& config, const Mesh& mesh) {
  const std::int64_t here =
      kTokens / mesh.degree(cluster::Axis::tensor) / mesh.degree(cluster::Axis::context);
  const std::int64_t first = here * mesh.index(cluster::Axis::tensor);
  const std::int64_t indices = mesh.degree(cluster::Axis::expert);
  std::vector<std::int64_t> counts(std::size_t(indices), 0);
  for (std::int64_t token = first; token < first + here; ++token) {
    std::set<std::int64_t> to;
    for (std::int64_t choice = 0; choice < config.top_k; ++choice)
      to.insert((token * config.top_k + choice) % config.experts / (config.experts / indices));
    for (const std::int64_t index : to) ++counts[std::size_t(index)];
  }
  return counts;
}

plan::TrafficQuestion::Rows rows_of(const models::ModelConfig& config, const Mesh& mesh) {
  const auto of_rank = [&](std::int64_t rank) { return Mesh(mesh.size(), rank, mesh.degrees()); };
  const auto received = [&](const Mesh& by) {
    std::int64_t rows = 0;
    for (const std::int64_t rank : by.group(cluster::Axis::expert))
      rows += destinations(config, of_rank(rank))[std::size_t(by.index(cluster::Axis::expert))];
    return rows;
  };
  const auto own = destinations(config, mesh);
  const std::int64_t stays = own[std::size_t(mesh.index(cluster::Axis::expert))];
  plan::TrafficQuestion::Rows rows{.leaving = -stays, .arriving = received(mesh) - stays};
  for (const std::int64_t count : own) rows.leaving += count;
  for (const std::int64_t rank : mesh.group(cluster::Axis::expert_tensor))
    rows.block = std::max(rows.block, received(of_rank(rank)));
  return rows;
}

/// Of each axis what the rank sends that sends most over it.
plan::AxisBytes expected(const models::ModelConfig& config, const Case& one) {
  plan::AxisBytes most{};
  for (std::int64_t rank = 0; rank < one.ranks; ++rank) {
    const Mesh mesh(one.ranks, rank, one.degrees);
    const models::MemoryFormat format{
        .recompute = one.recompute,
        .adapter = one.adapter,
        .stage = {.stages = models::stages_of(config, one.degrees.pipeline, one.chunks)}};
    const plan::AxisBytes bytes =
        plan::step_traffic({.config = config,
                            .mesh = mesh,
                            .format = format,
                            .micro_batches = kBatch / mesh.degree(cluster::Axis::data),
                            .tokens = kTokens / one.degrees.context,
                            .targets = kTokens - 1,
                            .rows = rows_of(config, mesh)});
    for (std::size_t axis = 0; axis < bytes.size(); ++axis) most[axis] = std::max(most[axis], bytes[axis]);
  }
  return most;
}

}  // namespace

TEST_CASE("a step sends the bytes that the formula says", "[slow][traffic]") {
  const test::TemporaryFolder folder;
  const test::Program program(folder);
  test::TinyJob job(folder);
  job.settings["data"] = {{"train", "[\"synthetic#64\"]"}, {"max_length", std::to_string(kTokens)}};
  job.settings["moe"]["routing"] = "\"even\"";
  job.settings["train"] = {{"global_batch_size", std::to_string(kBatch)}, {"iterations", "2"}};
  job.settings["checkpoint"] = {{"interval", "0"}};
  using models::Recompute;
  const std::vector<Case> cases{
      {4, {}},
      {4, {.expert = 4}},
      {4, {.tensor = 4}},
      {4, {.tensor = 2, .expert = 2}},
      {8, {.tensor = 2, .expert = 2}, 1, Recompute::full},
      {4, {.tensor = 2, .expert = 2}, 1, Recompute::selective},
      {4, {.context = 2}},
      {3, {.pipeline = 3}},
      {4, {.pipeline = 2}},
      {8, {.tensor = 2, .expert = 2, .expert_tensor = 2}},
      {8, {.context = 2, .pipeline = 2, .expert = 2}},
      {8, {.tensor = 2, .expert = 2, .expert_tensor = 2}, 1, Recompute::nothing, kAdapter},
  };
  for (const Case& one : cases) {
    const auto& [tensor, context, pipeline, expert, expert_tensor] = one.degrees;
    const std::string name = fmt::format("r{}t{}c{}p{}e{}x{}m{}", one.ranks, tensor, context, pipeline,
                                         expert, expert_tensor, int(one.recompute)) +
                             (one.adapter ? "a" : "");
    std::vector<std::string> arguments{"train", job.file(name)};
    const auto set = [&](const std::string& setting) {
      arguments.emplace_back("--set");
      arguments.push_back(setting);
    };
    set(fmt::format("parallel.tensor={}", tensor)), set(fmt::format("parallel.context={}", context));
    set(fmt::format("parallel.pipeline={}", pipeline)), set(fmt::format("parallel.expert={}", expert));
    set(fmt::format("parallel.expert_tensor={}", expert_tensor));
    if (one.adapter) set("lora.rank=4"), set("lora.dropout=0.1");
    if (one.recompute == Recompute::full) set("train.recompute=\"full\"");
    if (one.recompute == Recompute::selective) set("train.recompute=\"selective\"");
    const auto outcome = program.run(int(one.ranks), arguments);
    INFO(name << ": " << outcome.err);
    REQUIRE(outcome.exit_code == 0);
    const std::string config = (folder / "config.json").string();
    CHECK_THAT(
        outcome.err,
        Catch::Contains("bytes that a rank sends in a step: " +
                        plan::traffic_text(expected(models::read_config(test::slurp(config), config), one)) +
                        "\n"));
  }
}
