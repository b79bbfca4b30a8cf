#pragma once
#include <vector>

#include "models/memory.h"
#include "plan/rules.h"

namespace moebius::plan {

/// What lies on a GPU besides what a model takes: the context, and what cuBLAS, cuDNN and NCCL load and keep.
/// Measured, see tests/bench/gpu_slice.md.
inline constexpr std::int64_t kGpuLibraryBytes = std::int64_t{900} << 20;
/// The same of a process on CPUs: what a program without GPU libraries takes when it starts, what MPI and
/// HDF5 load then, and what MPI shares with each rank of the node. What MPI and HDF5 take while they write a
/// checkpoint. Measured, see tests/bench/mesh.md.
inline constexpr std::int64_t kProgramBytes = std::int64_t{12} << 20;
inline constexpr std::int64_t kMpiBytes = std::int64_t{10} << 20;
inline constexpr std::int64_t kNeighbourBytes = std::int64_t{2} << 20;
inline constexpr std::int64_t kFileBytes = std::int64_t{12} << 20;

/// What ranks compute on, as far as memory goes.
struct Machine {
  Space space = Space::host;
  Precision precision = Precision::fp32;
  std::int64_t memory = 0;  // bytes of a GPU or of a node
  std::int64_t ranks = 1;   // that share it
  std::string name;         // "the GPU", "the node"
  std::int64_t program =
      kProgramBytes;  // bytes of a node's memory that a rank's program takes when it starts

  [[nodiscard]] std::int64_t library_bytes() const {
    if (space == Space::device) return kGpuLibraryBytes;
    return program + kMpiBytes + (ranks > 1 ? ranks * kNeighbourBytes : 0);
  }
};

/// What decides how much memory a training needs.
struct Question {
  const job::Job& job;
  const models::ModelConfig& config;
  std::int64_t ranks = 1;        // of the job
  std::int64_t pack_tokens = 0;  // of the longest pack
  const Machine& machine;

  [[nodiscard]] std::int64_t micro_batch_tokens() const { return job.train.micro_batch_size * pack_tokens; }
};

/// Bytes of one rank, for the longest micro batch.
struct Need {
  models::ModelMemory memory;
  std::int64_t reference = 0;  // weights that answers are compared with, and their tables
  std::int64_t libraries = 0;
  std::int64_t saving = 0;  // in host memory, where the job saves
  [[nodiscard]] std::int64_t total() const { return memory.total() + reference + libraries + saving; }
  bool operator==(const Need&) const = default;
};

/// Its parts by name, in the order of the computation; the same list for every need.
struct NeedPart {
  const char* name;
  std::int64_t bytes;
};
[[nodiscard]] std::vector<NeedPart> parts_of(const Need& need);

/// Tokens of the longest pack where the data is not known: both sides of a pair may be of data.max_length.
[[nodiscard]] std::int64_t longest_pack(const job::Job& job);

[[nodiscard]] models::MemoryFormat format_of(const job::Job& job, const Machine& machine);

/// Of this rank of the mesh. `expert_load`: see models::MicroBatchShape; 1 is even routing.
[[nodiscard]] Need need_on(const cluster::Mesh& mesh, const Question& question, double expert_load = 1);

/// Ranks that need the same.
struct RankKind {
  std::int64_t first = 0, count = 0;  // the lowest of them, and how many
  Need need;
};
/// All kinds, the one that needs most first.
[[nodiscard]] std::vector<RankKind> rank_kinds(const Question& question);

[[nodiscard]] inline bool fits(const Need& need, const Machine& machine) {
  return need.total() * machine.ranks <= machine.memory;
}

}  // namespace moebius::plan
