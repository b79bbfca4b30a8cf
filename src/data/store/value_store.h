#pragma once
#include <filesystem>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/mapped_file.h"

/// Numbers of samples on disk, a list for each sample by its number. Ranks write parts of their own, all
/// ranks map all parts.
///
///   part-0003.values   the lists, float32, one behind the other
///   part-0003.index    header {magic, samples, floats, checksum of all}, then one Entry a sample
namespace moebius::data {

class ValueWriter {
 public:
  /// Creates (or replaces) part `part` in `folder`, which must exist. Throws ClusterError where it cannot be
  /// written, as all that follows.
  ValueWriter(const std::filesystem::path& folder, std::int64_t part);
  /// The first list of a sample counts.
  void add(std::int64_t sample, std::span<const float> values);
  /// Makes the part whole: a part without its index does not count.
  void finish();

 private:
  void check() const;

  std::filesystem::path stem_;
  std::ofstream values_;
  std::string entries_;  // as they will lie in the index
  std::uint64_t floats_ = 0, checksum_ = 0;
};

class ValueStore {
 public:
  /// Maps parts 0 .. parts-1 of `folder`. Throws InputError naming the part that is missing or of the wrong
  /// size.
  ValueStore(const std::filesystem::path& folder, std::int64_t parts);
  /// Reads all of a part. Throws InputError where it is not what was written.
  void verify(std::int64_t part) const;
  [[nodiscard]] std::int64_t parts() const { return std::int64_t(parts_.size()); }
  /// Valid as long as the store; nothing where the sample has no list.
  [[nodiscard]] std::optional<std::span<const float>> find(std::int64_t sample) const;

 private:
  struct Part {
    std::filesystem::path stem;
    MappedFile values, index;
  };
  std::vector<Part> parts_;
  std::unordered_map<std::int64_t, std::span<const float>> lists_;
};

}  // namespace moebius::data
