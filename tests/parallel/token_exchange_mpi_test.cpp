#include <algorithm>
#include <numeric>

#include "cluster/cluster.h"
#include "parallel/exchange_mpi.h"
#include "parallel/token_exchange.h"
#include "tests/support/catch.h"
#include "tests/support/tensors.h"

namespace moebius::parallel {
namespace {

using cluster::Cluster;
using cluster::Environment;

constexpr std::int64_t kExperts = 16, kTopK = 3, kWidth = 2;

/// Rank 1 has tokens without an expert only, rank 2 has no tokens at all.
std::int64_t tokens_of(std::int64_t rank) {
  return rank == 2 ? 0 : 5 + rank * 3 % 4;
}

/// The expert of a choice, -1: none. Those of a token differ; expert 5 gets none from anybody.
std::int32_t expert_of(std::int64_t rank, std::int64_t token, std::int64_t choice) {
  const std::int64_t expert = (rank * 7 + token * 5 + choice * (1 + token % 3)) % kExperts;
  return rank == 1 || expert == 5 || (rank + token) % 4 == 3 ? -1 : std::int32_t(expert);
}

/// Whether a token of a rank has an expert of an index of Axis::expert.
bool goes_to(std::int64_t rank, std::int64_t token, std::int64_t index, std::int64_t local_experts) {
  for (std::int64_t c = 0; c < kTopK; ++c) {
    const std::int32_t expert = expert_of(rank, token, c);
    if (expert >= 0 && expert / local_experts == index) return true;
  }
  return false;
}

struct Routes {
  test::Tensor<std::int32_t, 2> ids;
  test::Tensor<std::int32_t, 1> counts{{kExperts}};

  explicit Routes(std::int64_t rank) : ids({tokens_of(rank), kTopK}) {
    for (std::int64_t i = 0; i < ids.count(); ++i) {
      ids[i] = expert_of(rank, i / kTopK, i % kTopK);
      if (ids[i] >= 0) ++counts[ids[i]];
    }
  }
};

Dispatch<Space::host> plan(Exchange<Space::host>& exchange, const Routes& routes, Arena<Space::host>& kept) {
  Staging<Space::host> staging("counts");
  const RoutedTokens<Space::host> tokens{routes.ids.view(), routes.counts.view()};
  return plan_dispatch<Space::host>(
             exchange, {.name = "counts", .tokens = {&tokens, 1}, .kept = kept, .staging = staging}, {})
      .front();
}

/// The tokens of a rank. A row says whose it is: rank, token.
struct Tokens {
  test::Tensor<float, 2> rows;

  explicit Tokens(std::int64_t rank) : rows({tokens_of(rank), kWidth}) {
    for (std::int64_t t = 0; t < rows.shape()[0]; ++t) rows[2 * t] = float(rank), rows[2 * t + 1] = float(t);
  }
};

/// What one index of expert_tensor receives over Axis::expert: tokens that have an expert there, by rank.
std::vector<float> arriving_at(const Mesh& mesh, std::int64_t receiver) {
  const Mesh there(mesh.size(), receiver, mesh.degrees());
  const std::int64_t local = kExperts / mesh.degree(Axis::expert);
  std::vector<float> values;
  for (const std::int64_t rank : there.group(Axis::expert)) {
    for (std::int64_t t = 0; t < tokens_of(rank); ++t) {
      if (goes_to(rank, t, there.index(Axis::expert), local)) {
        values.insert(values.end(), {float(rank), float(t)});
      }
    }
  }
  return values;
}

template <class Check>
void on_every_expert_grid(const Check& check) {
  Cluster cluster{Environment()};
  for (std::int64_t expert = 1; expert <= cluster.size(); expert *= 2) {
    for (std::int64_t width = 1; expert * width <= cluster.size(); width *= 2) {
      const Mesh mesh(cluster.size(), cluster.rank(), {.expert = expert, .expert_tensor = width});
      const auto exchange = make_mpi_exchange(cluster, mesh);
      INFO(mesh.text());
      check(cluster, *exchange);
    }
  }
}

}  // namespace

TEST_CASE("a token comes once to every rank that has an expert of it, in the order of the ranks") {
  on_every_expert_grid([](Cluster& cluster, Exchange<Space::host>& exchange) {
    const Mesh& mesh = exchange.mesh();
    Arena<Space::host> kept("test"), workspace("test workspace");
    const Routes routes(cluster.rank());
    const auto dispatch = plan(exchange, routes, kept);
    const Tokens own(cluster.rank());
    const test::Tensor<float, 2> here({dispatch.tokens_here(), kWidth});
    test::fill(here, -1.0f);
    dispatch_rows<float>(exchange, {"there", dispatch, own.rows.view(), here.view()}, workspace);
    REQUIRE(workspace.used_bytes() == 0);

    std::int64_t assignments = 0;
    std::size_t longest = 0;
    const auto& peers = mesh.group(Axis::expert_tensor);
    for (std::size_t block = 0; block < peers.size(); ++block) {
      const std::vector<float> expected = arriving_at(mesh, peers[block]);
      const std::int64_t rows = std::int64_t(expected.size()) / kWidth;
      REQUIRE(rows <= dispatch.block);
      longest = std::max(longest, std::size_t(rows));
      const View<float, 1, Space::host> got =
          here.view().slice(std::int64_t(block) * dispatch.block, rows).flat();
      REQUIRE(std::vector<float>(got.data, got.data + got.size()) == expected);
    }
    REQUIRE(std::int64_t(longest) == dispatch.block);

    const test::Tensor<std::int32_t, 2> ids({dispatch.tokens_here(), kTopK});
    test::fill(ids, -1);
    dispatch_rows<std::int32_t>(exchange, {"ids", dispatch, routes.ids.view(), ids.view()}, workspace);
    const std::int64_t local = kExperts / mesh.degree(Axis::expert);
    for (std::int64_t i = 0; i < ids.count(); ++i) {
      if (ids[i] >= 0 && ids[i] / local == mesh.index(Axis::expert)) ++assignments;
    }
    REQUIRE(assignments == dispatch.assignments);
  });
}

TEST_CASE("what comes back is summed over the ranks a token went to, and over the parts of the width") {
  on_every_expert_grid([](Cluster& cluster, Exchange<Space::host>& exchange) {
    const Mesh& mesh = exchange.mesh();
    Arena<Space::host> kept("test"), workspace("test workspace");
    const auto dispatch = plan(exchange, Routes(cluster.rank()), kept);
    const Tokens own(cluster.rank());
    const test::Tensor<float, 2> here({dispatch.tokens_here(), kWidth}), back(own.rows.shape());
    dispatch_rows<float>(exchange, {"there", dispatch, own.rows.view(), here.view()}, workspace);
    // Each rank scales with its number: the sum says who took part.
    for (std::int64_t i = 0; i < here.count(); ++i) here[i] *= float(1 + cluster.rank());
    test::fill(back, -1.0f);
    combine_rows<float>(exchange, {"back", dispatch, here.view(), back.view()}, workspace);
    REQUIRE(workspace.used_bytes() == 0);
    const std::int64_t degree = mesh.degree(Axis::expert), local = kExperts / degree;
    for (std::int64_t t = 0; t < tokens_of(cluster.rank()); ++t) {
      std::int64_t factor = 0;
      for (std::int64_t index = 0; index < degree; ++index) {
        if (!goes_to(cluster.rank(), t, index, local)) continue;
        const Mesh there(mesh.size(), mesh.group(Axis::expert)[std::size_t(index)], mesh.degrees());
        for (const std::int64_t rank : there.group(Axis::expert_tensor)) factor += 1 + rank;
      }
      REQUIRE(back[2 * t] == float(cluster.rank() * factor));
      REQUIRE(back[2 * t + 1] == float(t * factor));
    }
  });
}

TEST_CASE("combine is the adjoint of dispatch") {
  on_every_expert_grid([](Cluster& cluster, Exchange<Space::host>& exchange) {
    Arena<Space::host> kept("test"), workspace("test workspace");
    const auto dispatch = plan(exchange, Routes(cluster.rank()), kept);
    const test::Tensor<float, 2> x({tokens_of(cluster.rank()), kWidth}), dx(x.shape());
    const test::Tensor<float, 2> y({dispatch.tokens_here(), kWidth}), dy(y.shape());
    for (std::int64_t i = 0; i < x.count(); ++i) x[i] = float((i * 7 + cluster.rank()) % 11);
    for (std::int64_t i = 0; i < dy.count(); ++i) dy[i] = float((i * 5 + cluster.rank()) % 13);
    dispatch_rows<float>(exchange, {"there", dispatch, x.view(), y.view()}, workspace);
    combine_rows<float>(exchange, {"back", dispatch, dy.view(), dx.view()}, workspace);
    CHECK(cluster.all_reduce("left", dot(dy, y), Reduction::sum) ==
          cluster.all_reduce("right", dot(dx, x), Reduction::sum));
  });
}

TEST_CASE("two parts of the tokens that are under way at once arrive as each alone") {
  on_every_expert_grid([](Cluster& cluster, Exchange<Space::host>& exchange) {
    Arena<Space::host> kept("test"), workspace("test workspace");
    Staging<Space::host> staging("counts");
    const Routes routes(cluster.rank()), others(cluster.rank() + 3);
    const std::array parts{RoutedTokens<Space::host>{routes.ids.view(), routes.counts.view()},
                           RoutedTokens<Space::host>{others.ids.view(), others.counts.view()}};
    const auto both = plan_dispatch<Space::host>(
        exchange, {.name = "counts", .tokens = parts, .kept = kept, .staging = staging}, {});
    const auto first = plan(exchange, routes, kept), second = plan(exchange, others, kept);
    const Tokens own(cluster.rank()), other(cluster.rank() + 3);
    const auto come_and_go = [&](const Dispatch<Space::host>& dispatch, const Tokens& tokens) {
      const test::Tensor<float, 2> here({dispatch.tokens_here(), kWidth}), back(tokens.rows.shape());
      dispatch_rows<float>(exchange, {"there", dispatch, tokens.rows.view(), here.view()}, workspace);
      combine_rows<float>(exchange, {"back", dispatch, here.view(), back.view()}, workspace);
      return std::pair(here.values(), back.values());
    };
    const auto alone = come_and_go(first, own), alone_too = come_and_go(second, other);

    REQUIRE(both.size() == 2);
    const test::Tensor<float, 2> here({both[0].tokens_here(), kWidth}),
        there({both[1].tokens_here(), kWidth});
    const test::Tensor<float, 2> back(own.rows.shape()), back_too(other.rows.shape());
    const ArenaScope scope(workspace);
    using Started = StartedDispatch<float, Space::host>;
    using StartedBack = StartedCombine<float, Space::host>;
    Started one(exchange, {"one", both[0], own.rows.view(), here.view()}, workspace, {});
    Started two(exchange, {"two", both[1], other.rows.view(), there.view()}, workspace, {});
    one.finish({});
    StartedBack one_back(exchange, {"one", both[0], here.view(), back.view()}, workspace, {});
    two.finish({});
    StartedBack two_back(exchange, {"two", both[1], there.view(), back_too.view()}, workspace, {});
    one_back.finish({});
    two_back.finish({});
    CHECK(std::pair(here.values(), back.values()) == alone);
    CHECK(std::pair(there.values(), back_too.values()) == alone_too);
  });
}

TEST_CASE("the bytes that tokens cost are those of the formula") {
  on_every_expert_grid([](Cluster& cluster, Exchange<Space::host>& exchange) {
    const Mesh& mesh = exchange.mesh();
    const std::int64_t experts = mesh.degree(Axis::expert), widths = mesh.degree(Axis::expert_tensor);
    Arena<Space::host> kept("test"), workspace("test workspace");
    const auto bytes_of = [&](Axis axis, const auto& work) {
      const std::int64_t before = exchange.traffic(axis).bytes;
      work();
      return exchange.traffic(axis).bytes - before;
    };
    const Routes routes(cluster.rank());
    Dispatch<Space::host> dispatch;
    CHECK(bytes_of(Axis::expert, [&] { dispatch = plan(exchange, routes, kept); }) == 16 * (experts - 1));

    std::int64_t tokens_sent = 0, assignments = 0;  // to others
    for (std::int64_t t = 0; t < tokens_of(cluster.rank()); ++t) {
      for (std::int64_t index = 0; index < experts; ++index) {
        if (index == mesh.index(Axis::expert)) continue;
        tokens_sent += goes_to(cluster.rank(), t, index, kExperts / experts) ? 1 : 0;
        for (std::int64_t c = 0; c < kTopK; ++c) {
          const std::int32_t expert = expert_of(cluster.rank(), t, c);
          assignments += expert >= 0 && expert / (kExperts / experts) == index ? 1 : 0;
        }
      }
    }
    const std::int64_t from_others =
        dispatch.received() - dispatch.received_rows[std::size_t(mesh.index(Axis::expert))];
    const Tokens own(cluster.rank());
    const test::Tensor<float, 2> here({dispatch.tokens_here(), kWidth}), back(own.rows.shape());
    constexpr std::int64_t kRow = kWidth * 4;
    const auto there = [&] {
      dispatch_rows<float>(exchange, {"there", dispatch, own.rows.view(), here.view()}, workspace);
    };
    const auto home = [&] {
      combine_rows<float>(exchange, {"back", dispatch, here.view(), back.view()}, workspace);
    };
    CHECK(bytes_of(Axis::expert, there) == kRow * tokens_sent);
    CHECK(bytes_of(Axis::expert, home) == kRow * from_others);
    CHECK(bytes_of(Axis::expert_tensor, there) == kRow * dispatch.block * (widths - 1));
    CHECK(bytes_of(Axis::expert_tensor, home) == kRow * dispatch.block * (widths - 1));
    CHECK(tokens_sent <= assignments);
    const auto all = [&](const char* what, std::int64_t value) {
      return cluster.all_reduce(what, double(value), Reduction::sum);
    };
    const double all_sent = all("tokens", tokens_sent), all_assignments = all("assignments", assignments);
    if (experts > 1 && experts < kExperts) CHECK(all_sent < all_assignments);
  });
}

}  // namespace moebius::parallel
