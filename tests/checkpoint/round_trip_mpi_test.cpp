#include <fstream>
#include <numeric>

#include "tests/checkpoint/state_case.h"
#include "tests/support/catch.h"

using namespace moebius;
using cluster::AgreedError;
using cluster::Cluster;
using cluster::Degrees;
using cluster::Mesh;

namespace {

std::vector<Degrees> meshes_of(std::int64_t ranks) {
  std::vector<Degrees> meshes{{}};
  for (std::int64_t tensor = 1; tensor <= ranks; tensor *= 2) {
    const std::int64_t expert = tensor == ranks ? 2 : ranks / tensor;
    if (ranks % expert == 0) meshes.push_back({.tensor = tensor, .expert = expert});
  }
  return meshes;
}

void write_one(const std::filesystem::path& file, const Degrees& degrees, float state, Cluster& cluster) {
  test::State training(Mesh(cluster.size(), cluster.rank(), degrees));
  training.fill(state);
  const auto contents = test::some_contents(7);
  checkpoint::write_checkpoint(file, training.request(contents), cluster);
}

}  // namespace

TEST_CASE("what one mesh wrote, every mesh reads", "[checkpoint]") {
  Cluster cluster{cluster::Environment()};
  const test::SharedFolder folder(cluster);
  for (const Degrees& written : meshes_of(cluster.size())) {
    write_one(folder / "step.h5", written, 1.5f, cluster);
    CHECK_FALSE(std::filesystem::exists(folder / "step.h5.partial"));
    const checkpoint::Reader reader(folder / "step.h5");
    CHECK(reader.damage(1, 0).empty());
    for (const Degrees& read : meshes_of(cluster.size())) {
      test::State resumed(Mesh(cluster.size(), cluster.rank(), read));
      resumed.load(reader);
      CHECK(resumed.differences(1.5f) == 0);
    }
    test::State alone{Mesh()};  // every rank as if there were no other
    alone.load(reader);
    CHECK(alone.differences(1.5f) == 0);
    cluster.barrier("read");
  }
}

TEST_CASE("everything else comes back as it was given", "[checkpoint]") {
  Cluster cluster{cluster::Environment()};
  const test::SharedFolder folder(cluster);
  write_one(folder / "step.h5", {}, 0, cluster);
  const checkpoint::Reader reader(folder / "step.h5");
  const auto expected = test::some_contents(7);
  CHECK(reader.contents().iteration == 7);
  CHECK(reader.contents().samples == 112);
  CHECK(reader.contents().seed == -42);
  CHECK(reader.contents().started_on == "05 Nov 2026");
  CHECK(reader.contents().job == expected.job);
  CHECK(reader.contents().model_files == expected.model_files);
  CHECK(reader.tensors().size() == 3 * test::small_table().size());
  CHECK(reader.has_group(checkpoint::kExpAvgSq));
  CHECK_FALSE(reader.has_group("optimizer/master"));
}

TEST_CASE("elements of every type keep their bits", "[checkpoint]") {
  Cluster cluster{cluster::Environment()};
  const test::SharedFolder folder(cluster);
  const auto table = test::small_table();
  const std::vector<Dtype> dtypes{Dtype::bfloat16, Dtype::float32,  Dtype::float16, Dtype::float64,
                                  Dtype::bfloat16, Dtype::bfloat16, Dtype::float16, Dtype::int32};
  // Byte b of element i is a function of both, so that wrong places and swapped bytes show.
  const auto byte_of = [](std::int64_t element, std::int64_t byte) {
    return std::byte(element * 7 + byte * 31);
  };
  const auto visit = [&](std::size_t parameter, const checkpoint::Slab& slab, auto&& at) {
    const std::int64_t size = size_of(dtypes[parameter]);
    for (const auto& run : models::runs_of(table[parameter], slab)) {
      for (std::int64_t i = 0; i < run.count * size; ++i)
        at(run.local * size + i, byte_of(run.whole + i / size, i % size));
    }
  };
  const checkpoint::SlabSource source = [&](std::size_t parameter, const checkpoint::Slab& slab,
                                            auto elements) {
    visit(parameter, slab, [&](std::int64_t i, std::byte value) { elements[std::size_t(i)] = value; });
  };
  const checkpoint::Contents contents;
  const auto even = checkpoint::lists_of(checkpoint::even_slabs(table, cluster.size(), cluster.rank()));
  checkpoint::write_checkpoint(folder / "import.h5",
                               {.contents = contents,
                                .table = table,
                                .groups = {{checkpoint::kParameters, dtypes, even, source}},
                                .buffer_bytes = 200},
                               cluster);
  const checkpoint::Reader reader(folder / "import.h5");
  CHECK(reader.contents().job.empty());
  std::int64_t wrong = 0, seen = 0;
  reader.read(checkpoint::kParameters, table, checkpoint::even_slabs(table, 1, 0),
              [&](std::size_t parameter, const checkpoint::Slab& slab, const checkpoint::Elements& elements) {
                wrong += elements.dtype != dtypes[parameter];
                seen += slab.size();
                visit(parameter, slab, [&](std::int64_t i, std::byte value) {
                  wrong += elements.bytes[std::size_t(i)] != value;
                });
              });
  CHECK(wrong == 0);
  CHECK(seen == std::accumulate(table.begin(), table.end(), std::int64_t{0},
                                [](std::int64_t sum, const auto& row) { return sum + row.size(); }));
}

TEST_CASE("narrow weights are widened into the shards that train", "[checkpoint]") {
  Cluster cluster{cluster::Environment()};
  const test::SharedFolder folder(cluster);
  const auto table = test::small_table();
  const checkpoint::SlabSource source = [&](std::size_t parameter, const checkpoint::Slab& slab,
                                            auto elements) {
    auto* const out = reinterpret_cast<bf16*>(elements.data());
    for (const auto& run : models::runs_of(table[parameter], slab)) {
      for (std::int64_t i = 0; i < run.count; ++i) out[run.local + i] = bf16(float(run.whole + i));
    }
  };
  const checkpoint::Contents contents;
  const std::vector<Dtype> dtypes(table.size(), Dtype::bfloat16);
  const auto even = checkpoint::lists_of(checkpoint::even_slabs(table, cluster.size(), cluster.rank()));
  checkpoint::write_checkpoint(
      folder / "import.h5",
      {.contents = contents, .table = table, .groups = {{checkpoint::kParameters, dtypes, even, source}}},
      cluster);
  const test::State state(Mesh(cluster.size(), cluster.rank(), {.tensor = cluster.size()}));
  checkpoint::read_shards(checkpoint::Reader(folder / "import.h5"), checkpoint::kParameters, state.weights);
  for (std::size_t i = 0; i < table.size(); ++i) {
    for (const auto& run : models::runs_of(table[i], state.layout.row(i).slab))
      REQUIRE(state.weights[i](run.local) == float(bf16(float(run.whole))));
  }
}

TEST_CASE("a source that fails on one rank leaves what was there", "[checkpoint]") {
  Cluster cluster{cluster::Environment()};
  const test::SharedFolder folder(cluster);
  write_one(folder / "step.h5", {}, 1, cluster);

  test::State training(Mesh(cluster.size(), cluster.rank(), {}));
  training.fill(2);
  const auto contents = test::some_contents(7);
  auto request = training.request(contents);
  const auto even = checkpoint::even_slabs(training.layout.table(), cluster.size(), cluster.rank());
  request.groups[1].slabs = checkpoint::lists_of(even);
  const auto parameter_that_fails = GENERATE(std::size_t{0}, std::size_t{5});
  request.groups[1].source = [&](std::size_t parameter, const checkpoint::Slab&, std::span<std::byte>) {
    if (parameter == parameter_that_fails && cluster.rank() == cluster.size() - 1)
      throw InputError("model.safetensors: went away");
  };
  try {
    checkpoint::write_checkpoint(folder / "step.h5", request, cluster);
    FAIL("nothing was thrown");
  } catch (const AgreedError& error) {
    CHECK(error.code() == ExitCode::input);
    CHECK(std::string(error.what()).find("model.safetensors: went away") != std::string::npos);
  }
  CHECK_FALSE(std::filesystem::exists(folder / "step.h5.partial"));
  test::State back{Mesh()};
  back.load(checkpoint::Reader(folder / "step.h5"));
  CHECK(back.differences(1) == 0);
}

TEST_CASE("slabs that do not cover the model are a mistake of ours, and are found", "[checkpoint]") {
  Cluster cluster{cluster::Environment()};
  const test::SharedFolder folder(cluster);
  test::State training(Mesh(cluster.size(), cluster.rank(), {}));
  training.fill(2);
  const auto contents = test::some_contents(7);
  auto request = training.request(contents);
  if (cluster.rank() == 0) request.groups[0].slabs[4][0].ranges[0].end -= 1;
  CHECK_THROWS_WITH(checkpoint::write_checkpoint(folder / "step.h5", request, cluster),
                    Catch::Contains("parameters/router: 6 elements are written by no rank"));
}
