#include <fstream>

#include "base/file.h"
#include "tests/checkpoint/state_case.h"
#include "tests/support/catch.h"

using namespace moebius;
using checkpoint::DamagedError;
using checkpoint::Reader;
using cluster::Cluster;
using cluster::Mesh;

namespace {

std::filesystem::path whole_file(const test::SharedFolder& folder, Cluster& cluster) {
  test::State training(Mesh(cluster.size(), cluster.rank(), {}));
  training.fill(3);
  const auto contents = test::some_contents(7);
  auto file = folder / "step.h5";
  checkpoint::write_checkpoint(file, training.request(contents), cluster);
  return file;
}

std::string bytes_of(const std::filesystem::path& file) {
  return read_file(file, std::int64_t{1} << 30);
}

/// The place in the file of four elements in the middle of a tensor.
std::size_t place_of(const std::string& file, std::size_t parameter, std::int64_t index) {
  std::string needle;
  for (std::int64_t i = index; i < index + 4; ++i) {
    const float element = test::element_of(parameter, i, 3);
    needle.append(reinterpret_cast<const char*>(&element), sizeof(element));
  }
  const std::size_t place = file.find(needle);
  REQUIRE(place != std::string::npos);
  REQUIRE(file.find(needle, place + 1) == std::string::npos);
  return place;
}

/// "" when a file is whole and holds what was written; what is thrown otherwise.
std::string complaint_about(const std::filesystem::path& file) {
  try {
    test::State state{Mesh()};
    const Reader reader(file);
    state.load(reader);
    const auto expected = test::some_contents(7);
    const bool right =
        state.differences(3) == 0 && reader.contents().job == expected.job &&
        reader.contents().iteration == expected.iteration && reader.contents().samples == expected.samples &&
        reader.contents().seed == expected.seed && reader.contents().started_on == expected.started_on &&
        reader.contents().model_files == expected.model_files;
    return right ? "" : "WRONG CONTENT, AND NO ERROR";
  } catch (const InputError& error) {
    return error.what();
  }
}

}  // namespace

TEST_CASE("a flipped bit in a tensor is found and named", "[checkpoint][damage]") {
  Cluster cluster{cluster::Environment()};
  const test::SharedFolder folder(cluster);
  const auto file = whole_file(folder, cluster);
  if (cluster.rank() == 0) {
    std::string bytes = bytes_of(file);
    bytes[place_of(bytes, 5, 100) + 3] ^= 0x10;
    write_file(file, bytes);
  }
  cluster.barrier("flipped");

  test::State state{Mesh()};
  CHECK_THROWS_WITH(state.load(Reader(file)),
                    Catch::Contains("step.h5: not a whole checkpoint: the elements [") &&
                        Catch::Contains("of 'parameters/experts.gate_up' are not those that were written"));
  const auto inspection = checkpoint::inspect(file, cluster);
  CHECK(inspection.damaged_slabs == 1);
  CHECK_THAT(inspection.text,
             Catch::Contains("DAMAGED: 1 slab") && Catch::Contains("parameters/experts.gate_up"));
}

TEST_CASE("no flipped bit anywhere in the file goes unnoticed where it matters", "[checkpoint][damage]") {
  Cluster cluster{cluster::Environment()};
  const test::SharedFolder folder(cluster);
  const auto file = whole_file(folder, cluster);
  if (cluster.rank() == 0) {
    const std::string whole = bytes_of(file);
    std::int64_t tried = 0, found = 0;
    File patch(file, File::Mode::write_existing);
    for (std::size_t place = 0; place < whole.size(); ++place) {
      if (whole[place] == 0 ? place % 5003 != 0 : place % 53 != 0) continue;
      const auto flipped = std::byte(whole[place] ^ char(1 << (place % 8)));
      patch.write_at(std::int64_t(place), std::span(&flipped, 1));
      const std::string complaint = complaint_about(file);
      INFO("byte " << place);
      REQUIRE(complaint != "WRONG CONTENT, AND NO ERROR");
      ++tried, found += !complaint.empty();
      const auto original = std::byte(whole[place]);
      patch.write_at(std::int64_t(place), std::span(&original, 1));
    }
    INFO(tried << " tried, " << found << " found");
    CHECK(found > 200);  // the rest is space that nothing uses
    CHECK(complaint_about(file).empty());
  }
  cluster.barrier("tried");
}

TEST_CASE("a file that was cut off anywhere is refused", "[checkpoint][damage]") {
  Cluster cluster{cluster::Environment()};
  const test::SharedFolder folder(cluster);
  const auto file = whole_file(folder, cluster);
  if (cluster.rank() == 0) {
    const auto size = std::int64_t(std::filesystem::file_size(file));
    for (const std::int64_t bytes :
         {size - 1, size / 2, size / 3, std::int64_t{4096}, std::int64_t{100}, std::int64_t{0}}) {
      File(file, File::Mode::write_existing).resize(bytes);
      CHECK_THROWS_AS(Reader(file), DamagedError);
      CHECK_THROWS_WITH(Reader(file), Catch::Contains("step.h5: not a whole checkpoint"));
    }
  }
  cluster.barrier("tried");
  CHECK_THROWS_WITH(Reader(folder / "none.h5"),
                    Catch::EndsWith("none.h5: there is no such file; a checkpoint is expected here"));
}

TEST_CASE("an HDF5 file of somebody else is refused", "[checkpoint][damage]") {
  Cluster cluster{cluster::Environment()};
  const test::SharedFolder folder(cluster);
  if (cluster.rank() == 0) {
    write_file(folder / "text.h5", "not HDF5 at all");
    CHECK_THROWS_AS(Reader(folder / "text.h5"), DamagedError);
  }
}

TEST_CASE("a checkpoint of another model is refused by the tensor that differs", "[checkpoint]") {
  Cluster cluster{cluster::Environment()};
  const test::SharedFolder folder(cluster);
  const Reader reader(whole_file(folder, cluster));
  auto table = test::small_table();
  SECTION("a tensor more") {
    table.push_back({.name = "head", .shape = {24, 6}});
    CHECK_THROWS_WITH(
        reader.expect_tensors("parameters", table),
        Catch::EndsWith("step.h5: it has no tensor 'parameters/head', which the model needs; the "
                        "checkpoint is of another model"));
  }
  SECTION("a tensor less") {
    table.erase(table.begin() + 4);
    CHECK_THROWS_WITH(reader.expect_tensors("optimizer/exp_avg", table),
                      Catch::Contains("the model has no tensor 'optimizer/exp_avg/router'"));
  }
  SECTION("another shape") {
    table[2].shape = {16, 12};
    CHECK_THROWS_WITH(
        reader.expect_tensors("parameters", table),
        Catch::Contains("tensor 'parameters/query' has shape [16, 6], the model needs [16, 12]"));
  }
  SECTION("no optimizer") {
    CHECK_THROWS_WITH(reader.expect_tensors("optimizer/master", table),
                      Catch::Contains("it has no tensor 'optimizer/master/embedding'"));
  }
}
