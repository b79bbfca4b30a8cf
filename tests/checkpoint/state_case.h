#pragma once
#include <cmath>
#include <exception>
#include <memory>

#include "checkpoint/checkpoint.h"
#include "tests/optimizer/tables.h"
#include "tests/support/temporary_folder.h"

namespace moebius::test {

using HostShards = models::Shards<float, Space::host>;

/// A temporary folder of rank 0 that all ranks know.
class SharedFolder {
 public:
  explicit SharedFolder(cluster::Cluster& cluster) : cluster_(cluster) {
    if (cluster.rank() == 0) own_ = std::make_unique<TemporaryFolder>();
    path_ = cluster.broadcast("test folder", own_ ? own_->path().string() : "");
  }
  /// Stays until no rank needs it; not after a failed check, when the others may be elsewhere.
  ~SharedFolder() {
    if (std::uncaught_exceptions() == 0) cluster_.barrier("test folder");
  }
  SharedFolder(const SharedFolder&) = delete;
  SharedFolder& operator=(const SharedFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  friend std::filesystem::path operator/(const SharedFolder& folder, const std::string& name) {
    return folder.path_ / name;
  }

 private:
  cluster::Cluster& cluster_;
  std::unique_ptr<TemporaryFolder> own_;
  std::filesystem::path path_;
};

/// Element `index` of a tensor: different in every tensor, group and state.
inline float element_of(std::size_t parameter, std::int64_t index, float state) {
  return std::sin(float(parameter + 1) * 1000 + float(index)) + state;
}

/// A training's weights and moments on one mesh, with buckets so short that every parameter is cut.
struct State {
  using Moment = models::Owned<float, Space::host>;
  models::ShardLayout layout;
  models::Ownership ownership;
  Arena<Space::host> arena{"test"};
  HostShards weights{layout, arena};
  Moment exp_avg{ownership, arena}, exp_avg_sq{ownership, arena};

  explicit State(const models::Mesh& mesh, models::ParameterTable table = small_table())
      : layout(std::move(table), mesh), ownership(layout, mesh, {.bucket = 100, .least_part = 1}) {}

  /// Sets every local element to what its place in the whole tensor says.
  void fill(float state) {
    for_weights([&](std::size_t i, std::int64_t index, float& x) { x = element_of(i, index, state); });
    for_moment(exp_avg, [&](auto i, auto index, float& x) { x = element_of(i, index, state + 10); });
    for_moment(exp_avg_sq, [&](auto i, auto index, float& x) { x = element_of(i, index, state + 20); });
  }
  /// The number of local elements that are not so.
  [[nodiscard]] std::int64_t differences(float state) const {
    std::int64_t count = 0;
    for_weights([&](auto i, auto index, float x) { count += x != element_of(i, index, state); });
    for_moment(exp_avg, [&](auto i, auto index, float x) { count += x != element_of(i, index, state + 10); });
    for_moment(exp_avg_sq,
               [&](auto i, auto index, float x) { count += x != element_of(i, index, state + 20); });
    return count;
  }

  [[nodiscard]] checkpoint::WriteRequest request(const checkpoint::Contents& contents) const {
    const Queue<Space::host> queue;
    return {.contents = contents,
            .table = layout.table(),
            .groups = {checkpoint::group_of(checkpoint::kParameters, weights),
                       checkpoint::group_of_owned<Space::host>(checkpoint::kExpAvg, exp_avg, queue),
                       checkpoint::group_of_owned<Space::host>(checkpoint::kExpAvgSq, exp_avg_sq, queue)},
            .buffer_bytes = 256};  // many pieces even of small tensors
  }
  void load(const checkpoint::Reader& reader) {
    const Queue<Space::host> queue;
    checkpoint::read_shards(reader, checkpoint::kParameters, weights);
    checkpoint::read_owned<Space::host>(reader, checkpoint::kExpAvg, exp_avg, queue);
    checkpoint::read_owned<Space::host>(reader, checkpoint::kExpAvgSq, exp_avg_sq, queue);
  }

 private:
  /// visit(parameter, place in the whole tensor, element)
  template <class Visit>
  void for_weights(Visit&& visit) const {
    for (std::size_t i = 0; i < layout.count(); ++i) {
      for (const auto& run : models::runs_of(layout.table()[i], layout.row(i).slab)) {
        for (std::int64_t k = 0; k < run.count; ++k) visit(i, run.whole + k, weights[i](run.local + k));
      }
    }
  }
  template <class Visit>
  void for_moment(const Moment& moment, Visit&& visit) const {
    for (std::size_t i = 0; i < layout.count(); ++i) {
      for (const auto& run : models::runs_of(layout.table()[i], layout.row(i).slab)) {
        const std::int64_t begin = layout.row(i).offset + run.local;
        for (const auto& piece : ownership.owned({begin, begin + run.count})) {
          for (std::int64_t k = 0; k < piece.elements.size(); ++k)
            visit(i, run.whole + piece.elements.begin - begin + k, moment[piece](k));
        }
      }
    }
  }
};

inline checkpoint::Contents some_contents(std::int64_t iteration) {
  return {.iteration = iteration,
          .samples = 16 * iteration,
          .seed = -42,
          .started_on = "05 Nov 2026",
          .job = "[job]\nname = \"n\u00e4me\"\n",
          .model_files = {
              {"config.json", "{}"}, {"empty.txt", ""}, {"tokenizer.json", std::string("\0\1\n\xff", 4)}}};
}

}  // namespace moebius::test
