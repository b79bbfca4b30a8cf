#include "cluster/mesh.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "tests/support/catch.h"

namespace moebius::cluster {
namespace {

using Group = std::vector<std::int64_t>;

/// The groups of an axis, as every rank of the world sees its own.
std::vector<Group> groups_seen(std::int64_t world, const Degrees& degrees, Axis axis) {
  std::vector<Group> groups;
  for (std::int64_t rank = 0; rank < world; ++rank) groups.push_back(Mesh(world, rank, degrees).group(axis));
  return groups;
}

std::set<Group> distinct(const std::vector<Group>& groups) {
  return {groups.begin(), groups.end()};
}

/// Every rank is in exactly one group, at the place that its index says, and all members see the same group.
void check_partition(std::int64_t world, const Degrees& degrees, Axis axis) {
  const std::vector<Group> groups = groups_seen(world, degrees, axis);
  for (std::int64_t rank = 0; rank < world; ++rank) {
    const Mesh mesh(world, rank, degrees);
    const Group& group = groups[std::size_t(rank)];
    REQUIRE(mesh.degree(axis) == std::int64_t(group.size()));
    REQUIRE(group.at(std::size_t(mesh.index(axis))) == rank);
    for (const std::int64_t member : group) REQUIRE(groups[std::size_t(member)] == group);
  }
  std::size_t members = 0;
  for (const Group& group : distinct(groups)) {
    REQUIRE((group.size() == groups.front().size() || axis == Axis::ends));
    members += group.size();
  }
  REQUIRE(members == std::size_t(world));
}

std::string message_of(std::int64_t world, const Degrees& degrees) {
  try {
    const Mesh mesh(world, 0, degrees);
  } catch (const ClusterError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("the worked example of Megatron: 16 ranks, tensor 2, context 2, expert 8") {
  const Degrees degrees{.tensor = 2, .context = 2, .expert = 8};
  const auto group = [&](std::int64_t rank, Axis axis) { return Mesh(16, rank, degrees).group(axis); };
  CHECK(group(0, Axis::tensor) == Group{0, 1});
  CHECK(group(3, Axis::tensor) == Group{2, 3});
  CHECK(group(0, Axis::context) == Group{0, 2});
  CHECK(group(1, Axis::context) == Group{1, 3});
  CHECK(group(6, Axis::context) == Group{4, 6});
  CHECK(group(0, Axis::data) == Group{0, 4, 8, 12});
  CHECK(group(0, Axis::expert) == Group{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(group(9, Axis::expert) == Group{8, 9, 10, 11, 12, 13, 14, 15});
  CHECK(group(0, Axis::expert_data) == Group{0, 8});
  CHECK(group(9, Axis::expert_data) == Group{1, 9});
  CHECK(group(5, Axis::tensor_context) == Group{4, 5, 6, 7});
  CHECK(group(1, Axis::data_context) == Group{1, 3, 5, 7, 9, 11, 13, 15});
  CHECK(group(7, Axis::world).size() == 16);
  CHECK(Mesh(16, 0, degrees).text() == "tensor 2 x context 2 x data 4, expert 8 x expert_data 2");
}

TEST_CASE("the rank is the mixed-radix number of its indices in both grids") {
  const Degrees degrees{.tensor = 2, .context = 3, .pipeline = 2, .expert = 3, .expert_tensor = 2};
  const std::int64_t world = 48;  // data 4, expert_data 4
  for (std::int64_t rank = 0; rank < world; ++rank) {
    const Mesh mesh(world, rank, degrees);
    const auto at = [&](Axis axis) { return mesh.index(axis); };
    CHECK(rank == at(Axis::tensor) + 2 * (at(Axis::context) + 3 * (at(Axis::data) + 4 * at(Axis::pipeline))));
    CHECK(rank == at(Axis::expert_tensor) +
                      2 * (at(Axis::expert) + 3 * (at(Axis::expert_data) + 4 * at(Axis::pipeline))));
  }
}

TEST_CASE("on every mesh of up to 24 ranks the groups of each axis partition the world") {
  for (const std::int64_t world : {1, 2, 3, 4, 6, 8, 12, 16, 24}) {
    for (std::int64_t pipeline = 1; pipeline <= world; ++pipeline)
      for (std::int64_t tensor = 1; tensor * pipeline <= world; ++tensor)
        for (std::int64_t context = 1; context * tensor * pipeline <= world; ++context)
          for (std::int64_t expert = 1; expert * pipeline <= world; ++expert) {
            const Degrees degrees{
                .tensor = tensor, .context = context, .pipeline = pipeline, .expert = expert};
            if (world % (tensor * context * pipeline) != 0 || world % (expert * pipeline) != 0) continue;
            for (int axis = 0; axis < kAxisCount; ++axis) check_partition(world, degrees, Axis(axis));
          }
  }
}

TEST_CASE("an expert and its replicas cover a stage, and stages never mix") {
  const Degrees degrees{.tensor = 2, .pipeline = 2, .expert = 4};
  for (std::int64_t rank = 0; rank < 16; ++rank) {
    const Mesh mesh(16, rank, degrees);
    const std::int64_t first = rank / 8 * 8;
    for (const Axis axis : {Axis::tensor, Axis::data, Axis::expert, Axis::expert_data, Axis::data_context})
      for (const std::int64_t member : mesh.group(axis)) CHECK(member / 8 * 8 == first);
    CHECK(mesh.group(Axis::pipeline) == Group{rank % 8, rank % 8 + 8});
  }
}

TEST_CASE("the ends of a pipeline are its first and its last stage") {
  const auto ends = [](std::int64_t rank, std::int64_t pipeline) {
    return Mesh(8, rank, {.pipeline = pipeline}).group(Axis::ends);
  };
  CHECK(ends(1, 4) == Group{1, 7});
  CHECK(ends(7, 4) == Group{1, 7});
  CHECK(ends(2, 4) == Group{2});
  CHECK(ends(5, 2) == Group{1, 5});
  CHECK(ends(5, 1) == Group{5});
}

TEST_CASE("axes that share their groups do so on every rank") {
  for (const std::int64_t pipeline : {1, 2, 4, 8}) {
    for (const std::int64_t tensor : {1, 2}) {
      const Degrees degrees{.tensor = tensor, .pipeline = pipeline};
      if (tensor * pipeline > 8) continue;
      for (int a = 0; a < kAxisCount; ++a) {
        for (int b = 0; b < kAxisCount; ++b) {
          const bool share = Mesh(8, 0, degrees).share_groups(Axis(a), Axis(b));
          for (std::int64_t rank = 0; rank < 8; ++rank) {
            const Mesh mesh(8, rank, degrees);
            REQUIRE(mesh.share_groups(Axis(a), Axis(b)) == share);
            if (share) REQUIRE(mesh.group(Axis(a)) == mesh.group(Axis(b)));
          }
        }
      }
    }
  }
}

TEST_CASE("degrees that do not divide the world are refused with what would work") {
  CHECK(message_of(6, {.tensor = 4}) ==
        "tensor 4 x context 1 x pipeline 1 = 4 does not divide the 6 ranks of this run; use tensor: 1, 2, 3, "
        "6, or "
        "start a multiple of 4 ranks");
  CHECK(message_of(8, {.tensor = 2, .expert = 3}) ==
        "expert 3 x expert_tensor 1 x pipeline 1 = 3 does not divide the 8 ranks of this run; use expert: 1, "
        "2, 4, "
        "8, or start a multiple of 3 ranks");
  CHECK(message_of(4, {.tensor = 2, .context = 4}) ==
        "tensor 2 x context 4 x pipeline 1 = 8 does not divide the 4 ranks of this run; use tensor: 1; or "
        "context: "
        "1, 2, or start a multiple of 8 ranks");
  CHECK(
      message_of(1, {.expert = 8}) ==
      "expert 8 x expert_tensor 1 x pipeline 1 = 8 does not divide the 1 rank of this run; use expert: 1, or "
      "start a multiple of 8 ranks");
  CHECK(message_of(4, {.tensor = 0}) == "tensor = 0: a degree is at least 1");
}

TEST_CASE("one rank is a mesh of its own") {
  const Mesh mesh;
  for (int axis = 0; axis < kAxisCount; ++axis) {
    CHECK(mesh.degree(Axis(axis)) == 1);
    CHECK(mesh.index(Axis(axis)) == 0);
    CHECK(mesh.group(Axis(axis)) == Group{0});
    CHECK(name_of(Axis(axis)) != "unknown axis");
  }
  CHECK(mesh.text().empty());
  CHECK(Mesh(4, 1, {}).text() == "data 4");
}

}  // namespace moebius::cluster
