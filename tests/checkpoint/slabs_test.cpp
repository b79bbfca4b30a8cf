#include "checkpoint/slabs.h"

#include "tests/optimizer/tables.h"
#include "tests/support/catch.h"

using namespace moebius;
using checkpoint::Slab;

namespace {

/// Counts how often each element of `outer` is in one of `parts`.
std::vector<int> coverage(const Slab& outer, const std::vector<Slab>& parts) {
  std::vector<int> times(std::size_t(outer.size()), 0);
  for (const Slab& part : parts) {
    for (const auto& run : checkpoint::runs_inside(outer, part)) {
      for (std::int64_t i = 0; i < run.count; ++i) ++times[std::size_t(run.whole + i)];
    }
  }
  return times;
}

}  // namespace

TEST_CASE("pieces of a slab cover it once, in order, and none is too long", "[checkpoint][slabs]") {
  const Slab slab{{{2, 7}, {0, 3}, {1, 5}, {0, 6}}};
  const std::int64_t longest = GENERATE(1, 5, 6, 7, 24, 25, 71, 72, 100, 359, 360, 1000);
  const auto pieces = checkpoint::pieces_of(slab, longest);
  CHECK(coverage(slab, pieces) == std::vector<int>(360, 1));
  std::int64_t next = 0;  // pieces are contiguous in the slab and follow each other
  for (const Slab& piece : pieces) {
    CHECK(piece.size() <= longest);
    const auto runs = checkpoint::runs_inside(slab, piece);
    REQUIRE(runs.size() == 1);
    CHECK(runs[0].whole == next);
    next += piece.size();
  }
}

TEST_CASE("pieces are as thick as they may be", "[checkpoint][slabs]") {
  const Slab slab{{{0, 8}, {0, 10}}};
  CHECK(checkpoint::pieces_of(slab, 80).size() == 1);
  CHECK(checkpoint::pieces_of(slab, 79).size() == 2);  // 7 rows, 1 row
  CHECK(checkpoint::pieces_of(slab, 20).size() == 4);
  CHECK(checkpoint::pieces_of(slab, 9).size() == 16);  // parts of a row
  CHECK(checkpoint::pieces_of(Slab{{{3, 3}, {0, 10}}}, 9).empty());
  CHECK(checkpoint::pieces_of(Slab{}, 9).size() == 1);  // a tensor without dims has one element
}

TEST_CASE("a range of a packed slab is a few slabs, in order", "[checkpoint][slabs]") {
  const Slab slab{{{3, 6}, {1, 2}, {0, 4}, {5, 10}}};
  for (std::int64_t begin = 0; begin <= slab.size(); ++begin) {
    for (std::int64_t end = begin; end <= slab.size(); ++end) {
      std::int64_t next = begin;
      const auto slabs = checkpoint::slabs_of(slab, {begin, end});
      CHECK(slabs.size() <= 5);  // the dim with one index adds none
      for (const Slab& part : slabs) {
        for (const auto& run : checkpoint::runs_inside(slab, part)) {
          REQUIRE(run.whole == next);
          next += run.count;
        }
      }
      REQUIRE(next == end);
    }
  }
  CHECK(checkpoint::slabs_of(slab, {20, 40}).size() == 1);
  CHECK(checkpoint::slabs_of(Slab{}, {0, 1}).size() == 1);
  CHECK(checkpoint::slabs_of(Slab{}, {0, 0}).empty());
}

TEST_CASE("intersections and their places", "[checkpoint][slabs]") {
  const Slab a{{{0, 4}, {2, 6}}}, b{{{3, 9}, {0, 4}}};
  const auto common = checkpoint::intersection(a, b);
  REQUIRE(common.has_value());
  CHECK(checkpoint::text_of(*common) == "[3:4, 2:4]");
  const auto runs = checkpoint::runs_inside(a, *common);
  REQUIRE(runs.size() == 1);
  CHECK(runs[0].whole == 12);
  CHECK(runs[0].count == 2);
  CHECK_FALSE(checkpoint::intersection(a, Slab{{{4, 9}, {0, 9}}}).has_value());
}

TEST_CASE("even slabs of all ranks cover every parameter once", "[checkpoint][slabs]") {
  const auto table = test::small_table();
  const std::int64_t ranks = GENERATE(1, 3, 11);
  std::vector<std::vector<Slab>> of_parameter(table.size());
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    const auto slabs = checkpoint::even_slabs(table, ranks, rank);
    for (std::size_t i = 0; i < table.size(); ++i) {
      if (slabs[i].size() > 0) of_parameter[i].push_back(slabs[i]);
    }
  }
  for (std::size_t i = 0; i < table.size(); ++i) {
    const Slab whole = checkpoint::whole_slab(table[i].shape);
    CHECK(coverage(whole, of_parameter[i]) == std::vector<int>(std::size_t(whole.size()), 1));
  }
}
