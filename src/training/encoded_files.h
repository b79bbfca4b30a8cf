#pragma once
#include <filesystem>
#include <memory>
#include <string>

#include "base/text.h"
#include "cluster/cluster.h"
#include "data/data.h"
#include "data/store/encode_share.h"
#include "training/cache_folders.h"

namespace moebius::training {

/// A file of rows, encoded and mapped.
struct EncodedFile {
  std::unique_ptr<data::SampleStore> samples;
  data::ShareReport report;  // of all ranks
};

/// What decides the tokens of a file besides its rows.
struct Encoding {
  const data::RowSettings& rows;
  const data::Encoder& encoder;
  std::string key;  // changes when any setting that matters does
};

/// Encoded files in <output>/cache: one folder for each file and encoding.
class EncodedFiles {
 public:
  EncodedFiles(std::filesystem::path folder, cluster::Cluster& cluster)
      : folders_(std::move(folder), "rows-", cluster), cluster_(cluster) {}
  /// Collective; throws AgreedError.
  [[nodiscard]] EncodedFile open(const std::string& path, const Encoding& encoding);
  /// Removes what earlier starts with other data left behind. Collective.
  void remove_others() { folders_.remove_others(); }
  /// A text for the encoded files that were opened, in their order: it changes when any sample does.
  [[nodiscard]] std::string key() const { return join(folders_.used()); }

 private:
  void encode(const data::RowFile& file, const Encoding& encoding, const std::filesystem::path& folder);

  CacheFolders folders_;
  cluster::Cluster& cluster_;
};

}  // namespace moebius::training
