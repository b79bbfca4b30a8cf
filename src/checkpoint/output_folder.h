#pragma once
#include <cstdint>
#include <filesystem>

#include "base/log.h"
#include "cluster/cluster.h"

namespace moebius::checkpoint {

/// Holds `<folder>/moebius.lock` for as long as the object lives, so that no second run writes the same
/// output. The kernel releases the lock when the process dies, however it dies. Collective; the lock is rank
/// 0's.
class OutputLock {
 public:
  /// Makes the folder where there is none. Throws AgreedError (ClusterError's code), naming the host and
  /// process that hold the lock, where another run has it. A file system without locks gets a warning.
  OutputLock(const std::filesystem::path& folder, cluster::Cluster& cluster, const Log& log);
  OutputLock(const OutputLock&) = delete;
  OutputLock& operator=(const OutputLock&) = delete;
  ~OutputLock();

 private:
  int descriptor_ = -1;
};

/// Makes the folder where there is none, and checks that it can hold what the run is going to write:
/// `bytes` of free space, files can be made in it, and all ranks see the same folder. Collective; throws
/// AgreedError with ClusterError's code, naming the folder and the bytes needed and free.
void check_output(const std::filesystem::path& folder, std::int64_t bytes, cluster::Cluster& cluster);

/// Sets space aside for a file that is there, so that a full disk or quota shows before anything is written;
/// the file's size stays. Where the file system cannot do this, looks at the free space. Throws ClusterError.
void reserve_space(const std::filesystem::path& file, std::int64_t bytes);
/// Empties a file without changing its size, as far as the file system can; says nothing where it cannot.
void give_space_back(const std::filesystem::path& file);
[[nodiscard]] std::int64_t free_bytes(const std::filesystem::path& folder);

}  // namespace moebius::checkpoint
