#include <numeric>

#include "cluster/cluster.h"
#include "parallel/exchange_mpi.h"
#include "parallel/token_exchange.h"
#include "tests/support/catch.h"

namespace moebius::parallel {
namespace {

using cluster::Cluster;
using cluster::Environment;

constexpr std::int64_t kExperts = 16, kWidth = 3;

/// How many rows `rank` has for an expert. Rank 1 has none at all, expert 5 gets none from anybody.
std::int64_t rows_for(std::int64_t rank, std::int64_t expert) {
  return rank == 1 || expert == 5 ? 0 : (rank * 7 + expert * 3) % 4;
}

/// The rows of a rank, sorted by expert. A row says where it comes from and where it goes.
struct Rows {
  std::vector<std::int32_t> starts{0};
  std::vector<float> values;  // [rows, kWidth]: rank, expert, place among the rank's rows of the expert

  explicit Rows(std::int64_t rank) {
    for (std::int64_t expert = 0; expert < kExperts; ++expert) {
      starts.push_back(starts.back() + std::int32_t(rows_for(rank, expert)));
      for (std::int64_t i = 0; i < rows_for(rank, expert); ++i)
        for (const std::int64_t word : {rank, expert, i}) values.push_back(float(word));
    }
  }
  [[nodiscard]] View<const std::int32_t, 1, Space::host> starts_view() const {
    return {starts.data(), {std::int64_t(starts.size())}};
  }
};

View<float, 2, Space::host> view(std::vector<float>& values) {
  return {values.data(), {std::int64_t(values.size()) / kWidth, kWidth}};
}

Dispatch<Space::host> plan(Exchange<Space::host>& exchange, const Rows& rows, Arena<Space::host>& kept) {
  Staging<Space::host> staging("counts");
  return plan_dispatch<Space::host>(
      exchange, {.name = "counts", .starts = rows.starts_view(), .kept = kept, .staging = staging}, {});
}

/// What must lie at this rank after dispatch: its experts in order, for each the ranks of the group in order.
std::vector<float> expected_rows(const Mesh& mesh) {
  const std::int64_t local = kExperts / mesh.degree(Axis::expert);
  std::vector<float> values;
  for (std::int64_t e = 0; e < local; ++e) {
    const std::int64_t expert = mesh.index(Axis::expert) * local + e;
    for (const std::int64_t rank : mesh.group(Axis::expert))
      for (std::int64_t i = 0; i < rows_for(rank, expert); ++i)
        for (const std::int64_t word : {rank, expert, i}) values.push_back(float(word));
  }
  return values;
}

}  // namespace

TEST_CASE("rows come to their expert in the order of the ranks, and go back to their place") {
  Cluster cluster{Environment()};
  for (std::int64_t degree = 1; degree <= cluster.size(); degree *= 2) {
    if (cluster.size() % degree != 0) continue;
    const Mesh mesh(cluster.size(), cluster.rank(), {.expert = degree});
    const auto exchange = make_mpi_exchange(cluster, mesh);
    Arena<Space::host> arena("test"), workspace("test workspace");
    Rows rows(cluster.rank());
    const auto dispatch = plan(*exchange, rows, arena);
    REQUIRE(dispatch.sent() == rows.starts.back());

    std::vector<float> arrived(std::size_t(dispatch.received() * kWidth));
    dispatch_rows<float>(*exchange, {"there", dispatch, view(rows.values), view(arrived)}, workspace);
    REQUIRE(arrived == expected_rows(mesh));

    const std::int64_t local = kExperts / degree;
    REQUIRE(dispatch.starts.size() == local + 1);
    for (std::int64_t e = 0; e < local; ++e)
      for (std::int32_t row = dispatch.starts(e); row < dispatch.starts(e + 1); ++row)
        REQUIRE(std::int64_t(arrived[std::size_t(row * kWidth + 1)]) == mesh.index(Axis::expert) * local + e);
    REQUIRE(dispatch.starts(local) == dispatch.received());

    std::vector<float> back(rows.values.size(), -1);
    combine_rows<float>(*exchange, {"back", dispatch, view(arrived), view(back)}, workspace);
    REQUIRE(back == rows.values);
    REQUIRE(workspace.used_bytes() == 0);
  }
}

TEST_CASE("combine is the adjoint of dispatch") {
  Cluster cluster{Environment()};
  if (kExperts % cluster.size() != 0) return;
  const Mesh mesh(cluster.size(), cluster.rank(), {.expert = cluster.size()});
  const auto exchange = make_mpi_exchange(cluster, mesh);
  Arena<Space::host> arena("test");
  const Rows rows(cluster.rank());
  const auto dispatch = plan(*exchange, rows, arena);
  std::vector<float> x(std::size_t(dispatch.sent() * kWidth)), y(std::size_t(dispatch.received() * kWidth));
  std::vector<float> dx(x.size()), dy(y.size());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = float((i * 7 + std::size_t(cluster.rank())) % 11);
  for (std::size_t i = 0; i < dy.size(); ++i) dy[i] = float((i * 5 + std::size_t(cluster.rank())) % 13);
  dispatch_rows<float>(*exchange, {"there", dispatch, view(x), view(y)}, arena);
  combine_rows<float>(*exchange, {"back", dispatch, view(dy), view(dx)}, arena);
  const double left = std::inner_product(dy.begin(), dy.end(), y.begin(), 0.0);
  const double right = std::inner_product(dx.begin(), dx.end(), x.begin(), 0.0);
  CHECK(cluster.all_reduce("left", left, Reduction::sum) ==
        cluster.all_reduce("right", right, Reduction::sum));
}

}  // namespace moebius::parallel
