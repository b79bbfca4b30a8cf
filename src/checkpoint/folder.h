#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "checkpoint/contents.h"
#include "checkpoint/reader.h"
#include "checkpoint/write.h"
#include "cluster/cluster.h"

namespace moebius::checkpoint {

/// "step_00000500.h5"
[[nodiscard]] std::string file_name_of(std::int64_t iteration);

/// A checkpoint that was read: the file, and what it says besides tensors.
struct Loaded {
  std::filesystem::path file;
  Contents contents;
};

/// Takes from an open checkpoint what this rank needs: expect_tensors, read, read_shards. Called on every
/// rank; makes no collective call; may be called again with an older file after DamagedError.
using LoadStep = std::function<void(const Reader&)>;

/// The checkpoints of one run: step_00000500.h5, ..., and `latest`, a text file that names the newest.
/// All calls are collective; only the holder of the run's OutputLock may make those that write.
class Folder {
 public:
  Folder(std::filesystem::path path, cluster::Cluster& cluster, const Log& log)
      : path_(std::move(path)), cluster_(cluster), log_(log) {}

  /// Writes a checkpoint of the iteration that `request` tells, points `latest` at it, and removes all
  /// but the `keep` (>= 1) newest. Throws as write_checkpoint does; a file that cannot be removed is a
  /// warning.
  std::filesystem::path save(const WriteRequest& request, std::int64_t keep);

  /// Runs `load` on the newest checkpoint, or, where that is damaged, on the one before, with a warning that
  /// says why. Nothing when the folder holds no checkpoint. Throws AgreedError (InputError's code) when
  /// it holds some and none is whole: starting from the beginning must be somebody's decision.
  [[nodiscard]] std::optional<Loaded> load_newest(const LoadStep& load);

  /// Removes the partial files of runs that died while saving.
  void remove_partials();

 private:
  void publish_latest(const std::string& name) const;
  void prune(std::int64_t keep) const;

  std::filesystem::path path_;
  cluster::Cluster& cluster_;
  const Log& log_;
};

/// Runs `load` on this one file. Collective; throws AgreedError where it failed on any rank.
[[nodiscard]] Loaded load_checkpoint(const std::filesystem::path& file, const LoadStep& load,
                                     cluster::Cluster& cluster);

}  // namespace moebius::checkpoint
