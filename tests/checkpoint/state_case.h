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

/// A training's weights and moments on one mesh.
struct State {
  models::ShardLayout layout;
  Arena<Space::host> arena{"test"};
  HostShards weights{layout, arena}, exp_avg{layout, arena}, exp_avg_sq{layout, arena};

  explicit State(const models::Mesh& mesh, models::ParameterTable table = small_table())
      : layout(std::move(table), mesh) {}

  /// Sets every local element to what its place in the whole tensor says.
  void fill(float state) { fill(weights, state), fill(exp_avg, state + 10), fill(exp_avg_sq, state + 20); }
  /// The number of local elements that are not so.
  [[nodiscard]] std::int64_t differences(float state) const {
    return differences(weights, state) + differences(exp_avg, state + 10) +
           differences(exp_avg_sq, state + 20);
  }

  [[nodiscard]] checkpoint::WriteRequest request(const checkpoint::Contents& contents) const {
    return {.contents = contents,
            .table = layout.table(),
            .slabs = checkpoint::owned_slabs(layout),
            .groups = {checkpoint::group_of(checkpoint::kParameters, weights),
                       checkpoint::group_of(checkpoint::kExpAvg, exp_avg),
                       checkpoint::group_of(checkpoint::kExpAvgSq, exp_avg_sq)},
            .buffer_bytes = 256};  // many pieces even of small tensors
  }
  void load(const checkpoint::Reader& reader) {
    checkpoint::read_shards(reader, checkpoint::kParameters, weights);
    checkpoint::read_shards(reader, checkpoint::kExpAvg, exp_avg);
    checkpoint::read_shards(reader, checkpoint::kExpAvgSq, exp_avg_sq);
  }

 private:
  template <class Visit>
  void for_elements(const HostShards& shards, Visit&& visit) const {
    for (std::size_t i = 0; i < layout.count(); ++i) {
      for (const auto& run : models::runs_of(layout.table()[i], layout.row(i).slab)) {
        for (std::int64_t k = 0; k < run.count; ++k) visit(i, run.whole + k, shards[i](run.local + k));
      }
    }
  }
  void fill(const HostShards& shards, float state) {
    for_elements(shards,
                 [&](std::size_t i, std::int64_t index, float& x) { x = element_of(i, index, state); });
  }
  [[nodiscard]] std::int64_t differences(const HostShards& shards, float state) const {
    std::int64_t count = 0;
    for_elements(shards, [&](std::size_t i, std::int64_t index, float x) {
      count += x != element_of(i, index, state);
    });
    return count;
  }
};

inline checkpoint::Contents some_contents(std::int64_t iteration) {
  return {.iteration = iteration,
          .samples = 16 * iteration,
          .seed = -42,
          .job = "[job]\nname = \"n\u00e4me\"\n",
          .model_files = {
              {"config.json", "{}"}, {"empty.txt", ""}, {"tokenizer.json", std::string("\0\1\n\xff", 4)}}};
}

}  // namespace moebius::test
