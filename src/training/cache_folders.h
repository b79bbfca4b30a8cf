#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "cluster/cluster.h"

namespace moebius::training {

/// Folders of one kind in <output>/cache, each made by all ranks together, in parts, and found again by a
/// later start. A folder counts when it was finished. Every rank believes what rank 0 sees, because a shared
/// folder may show the others something older.
class CacheFolders {
 public:
  /// `prefix`: what the names of this kind begin with.
  CacheFolders(std::filesystem::path folder, std::string prefix, cluster::Cluster& cluster)
      : folder_(std::move(folder)), prefix_(std::move(prefix)), cluster_(cluster) {}

  /// The folder of what `key` describes; the same on every rank. It is kept by remove_others. Collective, as
  /// all that follows.
  [[nodiscard]] std::filesystem::path folder_of(const std::string& key);
  /// Parts of a folder that was finished, 0 otherwise.
  [[nodiscard]] std::int64_t finished_parts(const std::filesystem::path& folder);
  /// Makes it anew, empty.
  void begin(const std::filesystem::path& folder);
  /// All parts are whole.
  void finish(const std::filesystem::path& folder, std::int64_t parts);
  /// Removes what earlier starts left behind.
  void remove_others();

  /// The names of all folders that were asked for.
  [[nodiscard]] const std::vector<std::string>& used() const { return used_; }

 private:
  std::filesystem::path folder_;
  std::string prefix_;
  cluster::Cluster& cluster_;
  std::vector<std::string> used_;
};

}  // namespace moebius::training
