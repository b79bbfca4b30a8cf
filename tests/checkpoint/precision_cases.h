#pragma once
#include "tensor/convert.h"
#include "tests/checkpoint/state_case.h"
#include "tests/models/weight_cases.h"
#include "tests/support/catch.h"

namespace moebius::test {

/// A training's weights in T and moments of `moments`, on one mesh in space S.
template <class T, Space S>
struct PreciseState {
  OwnedWeights<T, S> weights;
  models::AnyOwned<S> exp_avg, exp_avg_sq;

  PreciseState(const models::Mesh& mesh, models::Truth truth, Dtype moments, Queue<S> queue)
      : weights(small_table(), mesh, truth, queue),
        exp_avg(weights.ownership, moments, weights.optimizer_memory),
        exp_avg_sq(weights.ownership, moments, weights.optimizer_memory) {}

  /// Sets every local element to what its place in the whole tensor says, rounded to what is kept.
  void fill(float state) {
    models::ShardUpload<S> to_weights(weights.state, weights.queue), to_first(exp_avg, weights.queue),
        to_second(exp_avg_sq, weights.queue);
    for (std::size_t i = 0; i < weights.layout.count(); ++i) {
      put(to_weights, i, expected(i, state, Dtype::float32));
      put(to_first, i, expected(i, state + 10, Dtype::float32));
      put(to_second, i, expected(i, state + 20, Dtype::float32));
    }
    to_weights.finish(), to_first.finish(), to_second.finish();
  }

  /// With what the optimizer goes on from, or the weights alone.
  enum class Content : std::uint8_t { all, weights };
  void write(const std::filesystem::path& file, cluster::Cluster& cluster,
             Content content = Content::all) const {
    const auto contents = some_contents(7);
    const Queue<S> queue = weights.queue;
    checkpoint::WriteRequest request{.contents = contents,
                                     .table = weights.layout.table(),
                                     .groups = {},
                                     .buffer_bytes = 256};  // many pieces even of small tensors
    request.groups.push_back(checkpoint::group_of(checkpoint::kParameters, weights.state.weights, queue));
    if (content == Content::all) {
      if (weights.state.truth() != models::Truth::weights)
        request.groups.push_back(checkpoint::truth_group_of(checkpoint::kMaster, weights.state, queue));
      request.groups.push_back(checkpoint::group_of_owned(checkpoint::kExpAvg, exp_avg, queue));
      request.groups.push_back(checkpoint::group_of_owned(checkpoint::kExpAvgSq, exp_avg_sq, queue));
    }
    checkpoint::write_checkpoint(file, request, cluster);
  }
  void load(const checkpoint::Reader& reader) {
    checkpoint::read_weights(reader, weights.state, weights.queue);
    checkpoint::read_owned(reader, checkpoint::kExpAvg, exp_avg, weights.queue);
    checkpoint::read_owned(reader, checkpoint::kExpAvgSq, exp_avg_sq, weights.queue);
  }

  /// Whether all is what fill(state) and a passage through `weight_type` and `moment_type` leave: the fp32
  /// values of the weights, the weights, and the moments.
  [[nodiscard]] bool holds(float state, Dtype weight_type, Dtype moment_type) const {
    bool same = true;
    for (std::size_t i = 0; i < weights.layout.count(); ++i) {
      std::vector<float> truth = expected(i, state, weight_type);
      if (weights.state.truth() == models::Truth::weights) truth = rounded(truth, kDtypeOf<T>);
      const bool all = weights.state.ownership() == nullptr;
      same = same && same_bits(weights.values(i), all ? truth : weights.owned_of(i, truth));
      // Values of sines are no ties, so both ways to round agree.
      const models::Run whole{0, 0, weights.layout.row(i).size};
      same = same && same_bits(values_of(models::AnyShards<S>(weights.state.weights), i, {&whole, 1}),
                               rounded(truth, kDtypeOf<T>));
      same = same && same_bits(values_of(exp_avg, i, weights.owned_runs(i)),
                               moments(i, state + 10, moment_type, exp_avg.dtype()));
      same = same && same_bits(values_of(exp_avg_sq, i, weights.owned_runs(i)),
                               moments(i, state + 20, moment_type, exp_avg.dtype()));
    }
    return same;
  }

 private:
  static std::vector<float> rounded(std::vector<float> values, Dtype dtype) {
    if (dtype == Dtype::float32) return values;
    for (float& value : values) value = float(bf16(value));
    return values;
  }
  [[nodiscard]] std::vector<float> expected(std::size_t i, float state, Dtype dtype) const {
    std::vector<float> values;
    for (const auto& run : models::runs_of(weights.layout.table()[i], weights.layout.row(i).slab)) {
      for (std::int64_t k = 0; k < run.count; ++k) values.push_back(element_of(i, run.whole + k, state));
    }
    return rounded(std::move(values), dtype);
  }
  void put(models::ShardUpload<S>& upload, std::size_t i, const std::vector<float>& values) {
    const models::Run all{0, 0, std::int64_t(values.size())};
    upload.put(i, {&all, 1}, Dtype::float32, reinterpret_cast<const std::byte*>(values.data()));
  }
  /// Of a row as it was in `stored` in the file and is kept in `kept`.
  [[nodiscard]] std::vector<float> moments(std::size_t i, float state, Dtype stored, Dtype kept) const {
    return weights.owned_of(i, rounded(expected(i, state, stored), kept));
  }
  template <class Values>
  [[nodiscard]] std::vector<float> values_of(const Values& from, std::size_t i,
                                             std::span<const models::Run> runs) const {
    const std::int64_t count = runs.empty() ? 0 : runs.back().local + runs.back().count;
    std::vector<std::byte> stored(std::size_t(count * size_of(from.dtype())));
    models::ShardDownload<S>(from, weights.queue).get(i, runs, stored.data());
    std::vector<float> values(static_cast<std::size_t>(count));
    convert(from.dtype(), stored.data(), Dtype::float32, values.data(), count);
    return values;
  }
};

/// Meshes of these ranks: one replica, and the most that is split.
inline std::vector<models::Mesh> some_meshes(const cluster::Cluster& cluster) {
  std::vector<models::Mesh> meshes{models::Mesh(cluster.size(), cluster.rank(), {})};
  if (cluster.size() == 1) return meshes;
  const std::int64_t tensor = cluster.size() / 2;
  meshes.emplace_back(cluster.size(), cluster.rank(), cluster::Degrees{.tensor = tensor, .expert = 2});
  meshes.emplace_back(cluster.size(), cluster.rank(), cluster::Degrees{.tensor = cluster.size()});
  return meshes;
}

/// What a state in bf16 wrote comes back in bf16 bit for bit, whatever keeps the truth then, and in fp32 as
/// the truth that it had.
template <Space S>
void check_bf16_files(cluster::Cluster& cluster, Queue<S> queue) {
  const SharedFolder folder(cluster);
  using models::Truth;
  for (const auto& [truth, moments] :
       {std::pair(Truth::master, Dtype::float32), std::pair(Truth::remainder, Dtype::bfloat16),
        std::pair(Truth::weights, Dtype::bfloat16)}) {
    const Dtype kept = truth == Truth::weights ? Dtype::bfloat16 : Dtype::float32;
    for (const models::Mesh& mesh : some_meshes(cluster)) {
      PreciseState<bf16, S> training(mesh, truth, moments, queue);
      training.fill(1.5f);
      training.write(folder / "step.h5", cluster);
      const checkpoint::Reader reader(folder / "step.h5");
      CHECK(reader.has_group(checkpoint::kMaster) == (truth != Truth::weights));
      CHECK(reader.tensors().front().dtype == Dtype::bfloat16);
      CHECK(reader.tensors().back().dtype == moments);
      for (const models::Mesh& other : some_meshes(cluster)) {
        for (const Truth resumed : {Truth::master, Truth::remainder, Truth::weights}) {
          PreciseState<bf16, S> again(other, resumed, moments, queue);
          again.load(reader);
          CHECK(again.holds(1.5f, kept, moments));
        }
        PreciseState<float, S> wide(other, Truth::weights, Dtype::float32, queue);
        wide.load(reader);
        CHECK(wide.holds(1.5f, kept, moments));
        PreciseState<float, Space::host> host(other, Truth::weights, Dtype::float32, {});
        host.load(reader);
        CHECK(host.holds(1.5f, kept, moments));
      }
      cluster.barrier("read");
    }
  }
}

/// Weights in bf16 that were saved without the optimizer come back as they were, and are their own truth.
template <Space S>
void check_bf16_weights_alone(cluster::Cluster& cluster, Queue<S> queue) {
  const SharedFolder folder(cluster);
  using models::Truth;
  using State = PreciseState<bf16, S>;
  const models::Mesh mesh(cluster.size(), cluster.rank(), {});
  for (const Truth truth : {Truth::master, Truth::remainder, Truth::weights}) {
    State training(mesh, truth, Dtype::float32, queue);
    training.fill(0.5f);
    training.write(folder / "step.h5", cluster, State::Content::weights);
    const checkpoint::Reader reader(folder / "step.h5");
    CHECK_FALSE(reader.has_group(checkpoint::kMaster));
    CHECK_FALSE(reader.has_group(checkpoint::kExpAvg));
    State again(mesh, truth, Dtype::float32, queue);
    again.fill(0.5f);  // moments, which the file does not hold
    checkpoint::read_weights(reader, again.weights.state, queue);
    CHECK(again.holds(0.5f, Dtype::bfloat16, Dtype::float32));
    cluster.barrier("read");
  }
}

/// What a state in fp32 on the host wrote is the truth of one in bf16.
template <Space S>
void check_fp32_files(cluster::Cluster& cluster, Queue<S> queue) {
  const SharedFolder folder(cluster);
  using models::Truth;
  for (const models::Mesh& mesh : some_meshes(cluster)) {
    PreciseState<float, Space::host> training(mesh, Truth::weights, Dtype::float32, {});
    training.fill(-2);
    training.write(folder / "step.h5", cluster);
    const checkpoint::Reader reader(folder / "step.h5");
    CHECK_FALSE(reader.has_group(checkpoint::kMaster));
    for (const models::Mesh& other : some_meshes(cluster)) {
      for (const Truth truth : {Truth::master, Truth::remainder, Truth::weights}) {
        for (const Dtype moments : {Dtype::float32, Dtype::bfloat16}) {
          PreciseState<bf16, S> resumed(other, truth, moments, queue);
          resumed.load(reader);
          CHECK(resumed.holds(-2, Dtype::float32, Dtype::float32));
        }
      }
    }
    cluster.barrier("read");
  }
}

}  // namespace moebius::test
