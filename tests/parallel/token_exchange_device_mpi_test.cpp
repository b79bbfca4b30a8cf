#include "parallel/token_exchange.h"
#include "tests/parallel/device_rig.h"

namespace moebius::parallel {
namespace {

constexpr std::int64_t kExperts = 16;

/// How many rows `rank` has for an expert. Rank 1 has none at all, expert 5 gets none from anybody.
std::int64_t rows_for(std::int64_t rank, std::int64_t expert) {
  return rank == 1 || expert == 5 ? 0 : (rank * 7 + expert * 3) % 40;
}

std::vector<std::int32_t> starts_of(std::int64_t rank) {
  std::vector<std::int32_t> starts{0};
  for (std::int64_t expert = 0; expert < kExperts; ++expert)
    starts.push_back(starts.back() + std::int32_t(rows_for(rank, expert)));
  return starts;
}

/// What one space's exchange made of the same rows.
template <class T>
struct Moved {
  std::vector<std::int64_t> sent_rows, received_rows;
  std::vector<std::int32_t> starts, sources, positions;
  std::vector<T> arrived, back;
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

struct RankRows {
  std::vector<std::int32_t> starts;
  std::vector<float> rows;
  std::int64_t width;
};

/// A round trip in space S. Memory holds no zeros before, so that what is not written shows.
template <class T, Space S>
Moved<T> move_rows(Exchange<S>& exchange, const RankRows& input, Queue<S> queue) {
  Arena<S> kept("kept"), workspace("workspace");
  Staging<S> staging("staging");
  const std::int64_t sent = std::int64_t(input.rows.size()) / input.width;
  const auto put = [&]<class U>(const std::vector<U>& values) {
    const auto staged = staging.template make<U>(std::int64_t(values.size()));
    std::copy(values.begin(), values.end(), staged.data);
    const auto view = kept.template make<U>(std::int64_t(values.size()));
    upload<U>(staged, view, queue);
    return view;
  };
  const View<std::int32_t, 1, S> starts = put(input.starts);
  const std::vector<T> rows(input.rows.begin(), input.rows.end());
  const View<T, 2, S> from(put(rows).data, {sent, input.width});
  const auto dispatch =
      plan_dispatch(exchange, {.name = "counts", .starts = starts, .kept = kept, .staging = staging}, queue);
  REQUIRE(dispatch.sent() == sent);
  const View<T, 2, S> there(
      put(std::vector<T>(std::size_t(dispatch.received() * input.width), T(-1.0f))).data,
      {dispatch.received(), input.width});
  const View<T, 2, S> back(put(std::vector<T>(rows.size(), T(-1.0f))).data, {sent, input.width});
  dispatch_rows<T>(exchange, {"there", dispatch, from, there}, workspace, queue);
  combine_rows<T>(exchange, {"back", dispatch, there, back}, workspace, queue);
  REQUIRE(workspace.used_bytes() == 0);
  exchange.wait({Axis::world, "test"}, queue);
  return {.sent_rows = dispatch.sent_rows,
          .received_rows = dispatch.received_rows,
          .starts = values_in<std::int32_t>(dispatch.starts, queue),
          .sources = values_in<std::int32_t>(dispatch.sources, queue),
          .positions = values_in<std::int32_t>(dispatch.positions, queue),
          .arrived = values_in<T>(there.flat(), queue),
          .back = values_in<T>(back.flat(), queue)};
}

RankRows input_of(std::int64_t rank, std::int64_t width) {
  RankRows input{.starts = starts_of(rank), .rows = {}, .width = width};
  for (std::int64_t i = 0; i < input.starts.back() * width; ++i)
    input.rows.push_back(float((i * 7 + rank * 31) % 200));  // exact in bf16
  return input;
}

}  // namespace

TEMPLATE_TEST_CASE("rows of device memory come to their expert and go back as on the host", "", float, bf16) {
  using T = TestType;
  DeviceRig rig;
  for (std::int64_t degree = 1; degree <= rig.cluster.size(); degree *= 2) {
    if (rig.cluster.size() % degree != 0) continue;
    const Mesh mesh(rig.cluster.size(), rig.cluster.rank(), {.expert = degree});
    const auto host = make_mpi_exchange(rig.cluster, mesh);
    for (const auto& exchange : rig.exchanges(mesh))
      for (const std::int64_t width : {1, 3, 64}) {
        const RankRows input = input_of(rig.cluster.rank(), width);
        const auto expected = move_rows<float, Space::host>(*host, input, {});
        const auto moved = move_rows<T, Space::device>(*exchange, input, rig.device.queue());
        REQUIRE(moved.sent_rows == expected.sent_rows);
        REQUIRE(moved.received_rows == expected.received_rows);
        REQUIRE(moved.starts == expected.starts);
        REQUIRE(moved.sources == expected.sources);
        REQUIRE(moved.positions == expected.positions);
        REQUIRE(std::vector<float>(moved.arrived.begin(), moved.arrived.end()) == expected.arrived);
        REQUIRE(std::vector<float>(moved.back.begin(), moved.back.end()) == input.rows);
      }
  }
}

}  // namespace moebius::parallel
