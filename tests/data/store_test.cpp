#include <filesystem>
#include <fstream>

#include "data/store/sample_store.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_folder.h"

using namespace moebius;
using namespace moebius::data;

TEST_CASE("samples written in parts come back in the order of their rows", "[data][store]") {
  const test::TemporaryFolder folder;
  const Sample plain{{1, 2, 3}, {-100, 2, 3}, {}}, scaled{{4, 5}, {-100, 5}, {0, 2.5f}};
  SampleWriter even(folder.path(), 0), odd(folder.path(), 1);
  even.add(0, plain.view());
  even.add(4, plain.view());
  even.add(4, scaled.view());  // the same row's second part
  odd.add(1, scaled.view());
  even.finish("none");
  odd.finish("2 too long");

  const SampleStore store(folder.path(), 2);
  REQUIRE(store.count() == 4);
  Sample sample;
  store.read(0, sample);
  CHECK(sample.ids == plain.ids);
  CHECK(sample.labels == plain.labels);
  CHECK(sample.loss_scale.empty());
  store.read(1, sample);
  CHECK(sample.loss_scale == scaled.loss_scale);
  CHECK(store.row(2) == 4);
  CHECK(store.row(3) == 4);
  CHECK(store.length(2) == 3);
  CHECK(store.length(3) == 2);
  CHECK(store.length(0) == 3);
  CHECK(store.reports()[1] == "2 too long");
}

TEST_CASE("a pair comes back as a pair", "[data][store]") {
  const test::TemporaryFolder folder;
  const Sample pair{{1, 2, 1, 3}, {-100, 2, -100, 3}, {}, 2}, plain{{1, 2}, {-100, 2}, {}};
  SampleWriter writer(folder.path(), 0);
  writer.add(0, pair.view());
  writer.add(1, plain.view());
  writer.finish("");
  const SampleStore store(folder.path(), 1);
  Sample sample;
  store.read(0, sample);
  CHECK(sample.ids == pair.ids);
  CHECK(sample.rejected_begin == 2);
  store.read(1, sample);
  CHECK(sample.rejected_begin == 0);
}

TEST_CASE("a part that was not finished is refused by name", "[data][store]") {
  const test::TemporaryFolder folder;
  SampleWriter writer(folder.path(), 0);
  const Sample sample{{1}, {1}, {}};
  writer.add(0, sample.view());
  CHECK_THROWS_WITH(SampleStore(folder.path(), 1), moebius::test::contains("part-0000.index"));
  writer.finish("");
  std::ofstream(folder / "part-0000.tokens", std::ios::app) << "x";
  CHECK_THROWS_WITH(SampleStore(folder.path(), 1), moebius::test::contains("not whole"));
}
