#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace moebius::cluster {

/// An axis of the mesh, or a union of axes that some exchange runs over.
enum class Axis : std::uint8_t {
  tensor,          // attention grid: heads, dense widths, vocabulary; sequence parallel between them
  context,         // attention grid: chunks of the sequence
  data,            // attention grid: different samples
  pipeline,        // stages, the same in both grids
  expert_tensor,   // expert grid: width of an expert
  expert,          // expert grid: different experts
  expert_data,     // expert grid: replicas of an expert
  tensor_context,  // union: the ranks that share one micro batch (on one stage)
  data_context,    // union: the ranks that share a dense parameter's shard
  ends,            // the first and the last stage, for what both hold; a stage between them is alone
  world            // all ranks
};
inline constexpr int kAxisCount = 11;

[[nodiscard]] std::string name_of(Axis axis);

/// Degrees that a job gives; data and expert_data are what is left of the world.
struct Degrees {
  std::int64_t tensor = 1, context = 1, pipeline = 1, expert = 1, expert_tensor = 1;
};

/// Which ranks work together: the world as two grids over the same ranks, leftmost index fastest
/// (Megatron's order tp-cp-ep-dp-pp):
///
///   attention grid   rank = tensor + TP * (context + CP * (data + DP * pipeline))
///   expert grid      rank = expert_tensor + ETP * (expert + EP * (expert_data + EDP * pipeline))
///
/// Only the pipeline groups of the two coincide (parallel folding). A value: pure arithmetic, no MPI.
class Mesh {
 public:
  /// Throws ClusterError naming the product where the degrees do not divide the world.
  Mesh(std::int64_t world_size, std::int64_t rank, const Degrees& degrees);
  /// One rank: every exchange is a no-op, the serial program is the parallel program.
  Mesh() : Mesh(1, 0, {}) {}

  [[nodiscard]] std::int64_t degree(Axis axis) const { return group(axis).size(); }
  /// This rank's place along the axis, 0 .. degree-1.
  [[nodiscard]] std::int64_t index(Axis axis) const { return indices_[std::size_t(axis)]; }
  /// The world ranks of this rank's group along the axis, in the order of their index.
  [[nodiscard]] const std::vector<std::int64_t>& group(Axis axis) const { return groups_[std::size_t(axis)]; }
  /// Whether the groups of two axes are the same ranks, here and on all other ranks.
  [[nodiscard]] bool share_groups(Axis a, Axis b) const;
  [[nodiscard]] std::int64_t rank() const { return rank_; }
  [[nodiscard]] std::int64_t size() const { return size_; }
  [[nodiscard]] const Degrees& degrees() const { return degrees_; }
  /// "tensor 2 x data 4, expert 4 x expert_data 2": degrees above 1, for the log.
  [[nodiscard]] std::string text() const;

 private:
  std::int64_t size_, rank_;
  Degrees degrees_;
  std::array<std::vector<std::int64_t>, kAxisCount> groups_;
  std::array<std::int64_t, kAxisCount> indices_{};
};

}  // namespace moebius::cluster
