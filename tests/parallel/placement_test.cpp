#include "parallel/placement.h"

#include "tests/support/catch.h"

namespace moebius::parallel {
namespace {

using cluster::Node;
using Seen = std::vector<std::vector<SeenGpu>>;

SeenGpu gpu(const std::string& bus_id) {
  return {bus_id, "H200"};
}

std::vector<int> indices(const std::vector<Node>& nodes, const Seen& seen) {
  std::vector<int> all;
  for (std::size_t rank = 0; rank < seen.size(); ++rank)
    all.push_back(place_ranks(nodes, seen, std::int64_t(rank))->index);
  return all;
}

const std::vector<Node> kOneNode{{"a", {0, 1, 2, 3}}};

}  // namespace

TEST_CASE("ranks that see all GPUs of their node take them in turn") {
  const std::vector<Node> nodes{{"a", {0, 2, 4, 6}}, {"b", {1, 3, 5, 7}}};
  const Seen seen(8, {gpu("1"), gpu("2"), gpu("3"), gpu("4")});
  CHECK(indices(nodes, seen) == std::vector<int>{0, 0, 1, 1, 2, 2, 3, 3});
  const auto placement = place_ranks(nodes, seen, 5);
  CHECK(placement->ranks == 8);
  CHECK(placement->gpus == 8);  // bus ids of two nodes are different GPUs
  CHECK(placement->most_ranks == 1);
  CHECK(placement->names == "H200");
}

TEST_CASE("more ranks than GPUs share them evenly") {
  CHECK(indices(kOneNode, Seen(4, {gpu("1")})) == std::vector<int>{0, 0, 0, 0});
  CHECK(place_ranks(kOneNode, Seen(4, {gpu("1")}), 0)->most_ranks == 4);
  const Seen three(4, {gpu("1"), gpu("2"), gpu("3")});
  CHECK(indices(kOneNode, three) == std::vector<int>{0, 1, 2, 0});
  CHECK(place_ranks(kOneNode, three, 0)->most_ranks == 2);
  CHECK(place_ranks(kOneNode, three, 0)->gpus == 3);
}

TEST_CASE("a launcher may show each rank its own GPUs, or several ranks the same one") {
  const Seen own{{gpu("1")}, {gpu("2")}, {gpu("3")}, {gpu("4")}};
  CHECK(indices(kOneNode, own) == std::vector<int>{0, 0, 0, 0});
  CHECK(place_ranks(kOneNode, own, 0)->most_ranks == 1);
  const Seen pairs{{gpu("1")}, {gpu("1")}, {gpu("2")}, {gpu("2")}};
  CHECK(place_ranks(kOneNode, pairs, 0)->most_ranks == 2);
  CHECK(place_ranks(kOneNode, pairs, 0)->gpus == 2);
  const Seen two_each{{gpu("1"), gpu("2")}, {gpu("3"), gpu("4")}, {gpu("1"), gpu("2")}, {gpu("3"), gpu("4")}};
  CHECK(indices(kOneNode, two_each) == std::vector<int>{0, 0, 1, 1});
  CHECK(place_ranks(kOneNode, two_each, 0)->most_ranks == 1);
}

TEST_CASE("a job has GPUs on all ranks or on none") {
  CHECK_FALSE(place_ranks(kOneNode, Seen(4), 0).has_value());
  const auto message = [](const std::vector<Node>& nodes, const Seen& seen) {
    try {
      (void)place_ranks(nodes, seen, 0);
    } catch (const ClusterError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const std::vector<Node> nodes{{"a", {0, 1}}, {"b", {2, 3}}};
  CHECK(message(nodes, {{gpu("1")}, {gpu("1")}, {}, {}}).find("node b: rank 2 sees no GPU, ") == 0);
  CHECK(message(nodes, {{gpu("1")}, {}, {gpu("1")}, {gpu("1")}}).find("node a: rank 1 sees no GPU, ") == 0);
  CHECK(message({{"a", {0, 1, 2}}}, {{}, {gpu("1")}, {}}).find("node a: rank 0 sees no GPU, ") == 0);
}

}  // namespace moebius::parallel
