#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/math.h"
#include "cluster/mesh.h"
#include "models/stages.h"

namespace moebius::models {

using cluster::Axis;
using cluster::Mesh;

/// Dim `dim` of a tensor is cut over the ranks of `axis`, contiguously and balanced (base/math.h
/// balanced_part).
struct Split {
  Axis axis;
  int dim;
};

/// Start values of a model without weights.
struct InitialValue {
  enum class Kind : std::uint8_t { normal, zeros, ones } kind = Kind::normal;
  double deviation = 0.02;  // of normal
};

enum class Decay : std::uint8_t { yes, no };
/// What the computation does with a weight, as far as adapters ask (models/adapter.h).
enum class Role : std::uint8_t {
  other,
  linear,      // [..., out, in], of a linear layer inside a block
  router,      // the same, of the layer that chooses experts
  vocabulary,  // of the embedding or the output projection
};
/// Where the shard lies in memory: at the next aligned place, or right behind the row before it, so that the
/// two can be read as one taller matrix (queries, keys and values; their biases).
enum class Placement : std::uint8_t { aligned, behind_previous };

/// One weight of a model: the single truth that allocation, sharding, init, optimizer groups, checkpoints,
/// import, export, LoRA targets and `plan` loop over.
struct Parameter {
  std::string name;                 // "layers.3.experts.gate_up"; the dataset's name in a checkpoint
  std::vector<std::string> hub;     // names in a Hugging Face folder; see hub_tensors
  std::vector<std::int64_t> shape;  // of the whole tensor
  std::vector<Split> splits;        // none: every rank holds it whole
  InitialValue init;
  Decay decay = Decay::yes;  // no: biases and 1-D parameters
  Placement placement = Placement::aligned;
  Site site;  // which pipeline stages hold it
  Role role = Role::other;

  [[nodiscard]] std::int64_t size() const;
};

using ParameterTable = std::vector<Parameter>;

/// A tensor of a Hugging Face folder and its place in the whole parameter: parameter[index...] (leading dims)
/// is that tensor.
struct HubTensor {
  std::string name;
  std::vector<std::int64_t> index;  // leading indices; empty: the parameter itself
  std::vector<std::int64_t> shape;  // the parameter's shape without the leading dims
};

/// The Hugging Face tensors that make up a parameter. "{expert}" in a name runs over dim 0; several names run
/// over the next dim: {"...experts.{expert}.gate_proj.weight", "...up_proj.weight"} with shape [experts, 2,
/// width, hidden], or, without "{expert}", shape [2, width, hidden].
[[nodiscard]] std::vector<HubTensor> hub_tensors(const Parameter& parameter);

/// The place of a shard in the whole tensor: one range a dim.
struct Slab {
  std::vector<Range> ranges;
  [[nodiscard]] std::int64_t size() const;
};
[[nodiscard]] Slab local_slab(const Parameter& parameter, const Mesh& mesh);

/// A stretch of `count` elements that is contiguous both in the shard, from element `local`, and in the whole
/// tensor (row-major), from element `whole`.
struct Run {
  std::int64_t local, whole, count;
};
/// The fewest runs that a slab consists of, in the order of the shard.
[[nodiscard]] std::vector<Run> runs_of(const Parameter& parameter, const Slab& slab);

/// True on exactly one of the ranks that hold the same shard: the one that writes it and counts it in norms.
[[nodiscard]] bool is_owner(const Parameter& parameter, const Mesh& mesh);

/// The axes whose ranks hold the same shard of the parameter and see different tokens: its gradient is summed
/// over them. Dense: data_context, and also tensor when it is not split over tensor (with sequence
/// parallelism each tensor rank sees its own tokens). Experts: expert_data, and likewise expert_tensor. A
/// table of both ends of the pipeline: ends too.
[[nodiscard]] std::vector<Axis> gradient_axes(const Parameter& parameter);
/// The first of them: its ranks share what the optimizer keeps of the parameter, see models/ownership.h.
[[nodiscard]] Axis sharing_axis(const Parameter& parameter);

/// Where each local shard lies in one flat buffer; the same for weights and gradients, and the same on all
/// ranks of a pipeline stage: a shard that is smaller here than elsewhere leaves a gap behind it. Aligned
/// rows start at multiples of 256 bytes. Rows of other stages are empty. Neighbouring rows of one kind are a
/// block, which the ranks of its axis can cut evenly; a row of both ends of the pipeline is one of its own,
/// so that both cut it alike.
class ShardLayout {
 public:
  struct Row {
    Slab slab;
    std::int64_t offset, size;  // elements in the flat buffer
    bool owned;                 // by this rank: it writes the shard and counts it in norms
  };
  ShardLayout(ParameterTable table, const Mesh& mesh, const Stages& stages = {});

  [[nodiscard]] const ParameterTable& table() const { return table_; }
  [[nodiscard]] const Row& row(std::size_t index) const { return rows_[index]; }
  [[nodiscard]] std::size_t count() const { return rows_.size(); }
  [[nodiscard]] std::int64_t size() const { return size_; }  // elements of the flat buffer, gaps included
  /// Blocks tile the buffer; the size of each is a multiple of kGrain times the degree of its axis.
  struct Block {
    Axis axis;
    Range elements;
  };
  static constexpr std::int64_t kGrain = 8;  // elements: 16 bytes of bf16, what NCCL and kernels move at once
  [[nodiscard]] const std::vector<Block>& blocks() const { return blocks_; }
  /// Index of the parameter of that name; throws std::logic_error where there is none.
  [[nodiscard]] std::size_t index_of(const std::string& name) const;
  /// The same, or nothing.
  [[nodiscard]] std::optional<std::size_t> find(const std::string& name) const;

 private:
  ParameterTable table_;
  std::vector<Row> rows_;
  std::vector<Block> blocks_;
  std::unordered_map<std::string, std::size_t> index_by_name_;
  std::int64_t size_ = 0;
};

}  // namespace moebius::models
