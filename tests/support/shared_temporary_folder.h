#pragma once
#include <filesystem>
#include <optional>

#include "cluster/cluster.h"
#include "tests/support/temporary_folder.h"

namespace moebius::test {

/// A temporary folder that all ranks of a test see, on one machine. Made and removed together.
class SharedTemporaryFolder {
 public:
  explicit SharedTemporaryFolder(cluster::Cluster& cluster) : cluster_(cluster) {
    if (cluster.rank() == 0) mine_.emplace();
    path_ = cluster.broadcast("temporary folder", mine_ ? mine_->path().string() : "");
  }
  SharedTemporaryFolder(const SharedTemporaryFolder&) = delete;
  SharedTemporaryFolder& operator=(const SharedTemporaryFolder&) = delete;
  ~SharedTemporaryFolder() { cluster_.barrier("temporary folder is no longer used"); }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  cluster::Cluster& cluster_;
  std::optional<TemporaryFolder> mine_;
  std::filesystem::path path_;
};

}  // namespace moebius::test
