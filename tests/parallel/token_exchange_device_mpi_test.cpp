#include "parallel/token_exchange.h"
#include "tests/parallel/device_rig.h"

namespace moebius::parallel {
namespace {

constexpr std::int64_t kExperts = 16, kTopK = 4;

/// What a rank has. Rank 1 has tokens without an expert only, expert 5 gets none from anybody.
struct RankTokens {
  std::vector<std::int32_t> ids, counts;  // [tokens, kTopK], [kExperts]
  std::vector<float> rows;                // [tokens, width]
  std::int64_t tokens, width;

  RankTokens(std::int64_t rank, std::int64_t row_width)
      : counts(kExperts, 0), tokens(40 + rank * 13 % 30), width(row_width) {
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t c = 0; c < kTopK; ++c) {
        const std::int64_t expert = (rank * 7 + t * 5 + c * (1 + t % 3)) % kExperts;
        const bool goes = rank != 1 && expert != 5 && (rank + t) % 7 != 3;
        ids.push_back(goes ? std::int32_t(expert) : -1);
        if (goes) ++counts[std::size_t(expert)];
      }
    for (std::int64_t i = 0; i < tokens * width; ++i)
      rows.push_back(float((i * 7 + rank * 31) % 15));  // sums of these are exact in bf16
  }
};

/// What one space's exchange made of the same tokens.
template <class T>
struct Moved {
  std::vector<std::int64_t> sent_rows, received_rows;
  std::int64_t block, assignments;
  std::vector<std::int32_t> positions, ids;
  std::vector<T> arrived, back, started, started_back;
};

template <class T>
std::vector<T> values_in(View<const T, 1, Space::host> view, Queue<Space::host>) {
  return {view.data, view.data + view.size()};
}
template <class T>
std::vector<T> values_in(View<const T, 1, Space::device> view, Queue<Space::device> queue) {
  std::vector<T> values(std::size_t(view.size()));
  moebius::wait(queue);
  if (!values.empty())
    check(cudaMemcpy(values.data(), view.data, values.size() * sizeof(T), cudaMemcpyDeviceToHost));
  return values;
}

/// A round trip in space S. Memory holds no zeros before, so that what is not written shows.
template <class T, Space S>
Moved<T> move_rows(Exchange<S>& exchange, const RankTokens& input, Queue<S> queue) {
  Arena<S> kept("kept"), workspace("workspace");
  Staging<S> staging("staging");
  const auto put = [&]<class U>(const std::vector<U>& values, std::int64_t width) {
    const auto staged = staging.template make<U>(std::int64_t(values.size()));
    std::copy(values.begin(), values.end(), staged.data);
    const auto view = kept.template make<U>(std::int64_t(values.size()));
    upload<U>(staged, view, queue);
    return View<U, 2, S>(view.data, {view.size() / width, width});
  };
  const auto filled = [&]<class U>(std::int64_t rows, std::int64_t width, U value) {
    return put(std::vector<U>(std::size_t(rows * width), value), width);
  };
  const View<std::int32_t, 2, S> ids = put(input.ids, kTopK);
  const View<std::int32_t, 1, S> counts = put(input.counts, 1).flat();
  const View<T, 2, S> from = put(std::vector<T>(input.rows.begin(), input.rows.end()), input.width);
  const RoutedTokens<S> tokens{ids, counts};
  const auto dispatch =
      plan_dispatch(
          exchange,
          PlanDispatch<S>{.name = "counts", .tokens = {&tokens, 1}, .kept = kept, .staging = staging}, queue)
          .front();
  const View<T, 2, S> there = filled(dispatch.tokens_here(), input.width, T(0.0f));
  const View<std::int32_t, 2, S> ids_there = filled(dispatch.tokens_here(), kTopK, std::int32_t{-1});
  const View<T, 2, S> back = filled(input.tokens, input.width, T(-1.0f));
  dispatch_rows<T>(exchange, {"there", dispatch, from, there}, workspace, queue);
  dispatch_rows<std::int32_t>(exchange, {"ids", dispatch, ids, ids_there}, workspace, queue);
  combine_rows<T>(exchange, {"back", dispatch, there, back}, workspace, queue);
  REQUIRE(workspace.used_bytes() == 0);
  const View<T, 2, S> started = filled(dispatch.tokens_here(), input.width, T(0.0f));
  const View<T, 2, S> started_back = filled(input.tokens, input.width, T(-1.0f));
  StartedDispatch<T, S> going(exchange, {"there", dispatch, from, started}, workspace, queue);
  going.finish(queue);
  StartedCombine<T, S> coming(exchange, {"back", dispatch, started, started_back}, workspace, queue);
  coming.finish(queue);
  exchange.wait({Axis::world, "test"}, queue);
  return {.sent_rows = dispatch.sent_rows,
          .received_rows = dispatch.received_rows,
          .block = dispatch.block,
          .assignments = dispatch.assignments,
          .positions = values_in<std::int32_t>(dispatch.positions.flat(), queue),
          .ids = values_in<std::int32_t>(ids_there.flat(), queue),
          .arrived = values_in<T>(there.flat(), queue),
          .back = values_in<T>(back.flat(), queue),
          .started = values_in<T>(started.flat(), queue),
          .started_back = values_in<T>(started_back.flat(), queue)};
}

std::vector<Mesh> expert_grids(const cluster::Cluster& cluster) {
  std::vector<Mesh> grids;
  for (std::int64_t expert = 1; expert <= cluster.size(); expert *= 2)
    for (std::int64_t width = 1; expert * width <= cluster.size(); width *= 2) {
      if (cluster.size() % (expert * width) != 0) continue;
      grids.emplace_back(cluster.size(), cluster.rank(),
                         cluster::Degrees{.expert = expert, .expert_tensor = width});
    }
  return grids;
}

}  // namespace

TEMPLATE_TEST_CASE("tokens of device memory come to their experts and go back as on the host", "", float,
                   bf16) {
  using T = TestType;
  DeviceRig rig;
  for (const Mesh& mesh : expert_grids(rig.cluster)) {
    INFO(mesh.text());
    const auto host = make_mpi_exchange(rig.cluster, mesh);
    for (const auto& exchange : rig.exchanges(mesh))
      for (const std::int64_t width : {1, 3, 64}) {
        const RankTokens input(rig.cluster.rank(), width);
        const auto expected = move_rows<float, Space::host>(*host, input, {});
        const auto moved = move_rows<T, Space::device>(*exchange, input, rig.device.queue());
        REQUIRE(moved.sent_rows == expected.sent_rows);
        REQUIRE(moved.received_rows == expected.received_rows);
        REQUIRE(moved.block == expected.block);
        REQUIRE(moved.assignments == expected.assignments);
        REQUIRE(moved.positions == expected.positions);
        REQUIRE(moved.ids == expected.ids);
        REQUIRE(std::vector<float>(moved.arrived.begin(), moved.arrived.end()) == expected.arrived);
        REQUIRE(std::vector<float>(moved.back.begin(), moved.back.end()) == expected.back);
        REQUIRE(same_bits(moved.started, moved.arrived));
        REQUIRE(same_bits(moved.started_back, moved.back));
      }
  }
}

}  // namespace moebius::parallel
