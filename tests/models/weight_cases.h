#pragma once
#include <bit>
#include <cmath>
#include <vector>

#include "models/shard_transfer.h"
#include "models/weight_state.h"

namespace moebius::test {

/// Rows that are cut in every way; `width` columns of the widest.
inline models::ParameterTable cut_table(std::int64_t width) {
  using models::Axis;
  using models::InitialValue;
  return {{.name = "columns", .shape = {6, width}, .splits = {{Axis::tensor, 1}}},
          {.name = "gains", .shape = {7}, .init = {InitialValue::Kind::ones}},
          {.name = "rows", .shape = {8, 5}, .splits = {{Axis::tensor, 0}}},
          {.name = "biases", .shape = {3}, .init = {InitialValue::Kind::zeros}},
          {.name = "middle", .shape = {4, 8, 3}, .splits = {{Axis::tensor, 1}}}};
}

/// Weights in T with the memory that they lie in.
template <class T, Space S>
struct OwnedWeights {
  models::ShardLayout layout;
  models::Ownership ownership;
  Arena<S> weight_memory{"weights"}, optimizer_memory{"optimizer"};
  Queue<S> queue;
  models::WeightState<T, S> state;

  OwnedWeights(models::ParameterTable table, const models::Mesh& mesh, models::Truth truth, Queue<S> on)
      : layout(std::move(table), mesh),
        ownership(layout, mesh, {.bucket = 100, .least_part = 1}),
        queue(on),
        state(models::make_weight_state<T, S>(ownership, truth, weight_memory, optimizer_memory, on)) {}

  /// Puts all elements of a shard.
  void put(std::size_t index, const std::vector<float>& values) {
    models::ShardUpload<S> upload(state, queue);
    const models::Run all{0, 0, layout.row(index).size};
    upload.put(index, {&all, 1}, Dtype::float32, reinterpret_cast<const std::byte*>(values.data()));
    upload.finish();
  }
  /// The fp32 values of a shard: all, where weights are their own truth, else those that this rank owns.
  [[nodiscard]] std::vector<float> values(std::size_t index) const {
    const bool all = state.ownership() == nullptr;
    const auto runs = all ? std::vector<models::Run>{{0, 0, layout.row(index).size}} : owned_runs(index);
    std::vector<float> out(std::size_t(runs.empty() ? 0 : runs.back().local + runs.back().count));
    models::ShardDownload<S>(state, queue).get(index, runs, reinterpret_cast<std::byte*>(out.data()));
    return out;
  }
  /// The elements of a shard that this rank owns, side by side.
  [[nodiscard]] std::vector<models::Run> owned_runs(std::size_t index) const {
    const auto& row = layout.row(index);
    std::vector<models::Run> runs;
    std::int64_t local = 0;
    for (const auto& [owned, place] : ownership.owned({row.offset, row.offset + row.size})) {
      runs.push_back({local, owned.begin - row.offset, owned.size()});
      local += owned.size();
    }
    return runs;
  }
  [[nodiscard]] std::vector<float> owned_of(std::size_t index, const std::vector<float>& whole) const {
    std::vector<float> part;
    for (const models::Run& run : owned_runs(index))
      part.insert(part.end(), whole.begin() + run.whole, whole.begin() + run.whole + run.count);
    return part;
  }
};

/// Numbers that rounding to bf16 may get wrong, repeated to `count`.
inline std::vector<float> awkward_values(std::int64_t count) {
  const std::vector<std::uint32_t> bits{0x3f80'8000, 0x3f81'8000,               // ties: to even, and to odd
                                        0x3f80'7fff, 0x3f80'8001, 0xbf80'8000,  // beside them
                                        0x0000'0000, 0x8000'0000, 0x0000'0001, 0x0080'0000, 0x007f'ffff,
                                        0x7f7f'ffff, 0xff7f'8000, 0x7f80'0000, 0xff80'0000, 0x7fc0'0001};
  std::vector<float> values;
  for (std::int64_t i = 0; i < count; ++i) {
    values.push_back(i % 3 == 0 ? std::bit_cast<float>(bits[std::size_t(i / 3) % bits.size()])
                                : float(std::sin(double(i)) * 0.02));
  }
  return values;
}

/// Equal bit for bit, NaN included.
inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i])) return false;
  }
  return true;
}

}  // namespace moebius::test
