#pragma once
#include <filesystem>
#include <memory>
#include <string>

#include "cluster/cluster.h"
#include "data/data.h"
#include "data/store/encode_share.h"

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

/// Encoded files in <output>/cache: one folder for each file and encoding, made by all ranks together and
/// found again by a later start. Only the folders that this object handed out are kept.
class EncodedFiles {
 public:
  EncodedFiles(std::filesystem::path folder, cluster::Cluster& cluster)
      : folder_(std::move(folder)), cluster_(cluster) {}
  /// Collective; throws AgreedError.
  [[nodiscard]] EncodedFile open(const std::string& path, const Encoding& encoding);
  /// Removes what earlier starts with other data left behind. Collective.
  void remove_others();

 private:
  void encode(const data::RowFile& file, const Encoding& encoding, const std::filesystem::path& folder);

  std::filesystem::path folder_;
  cluster::Cluster& cluster_;
  std::vector<std::string> used_;
};

}  // namespace moebius::training
