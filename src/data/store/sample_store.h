#pragma once
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "data/batch/sample.h"
#include "data/mapped_file.h"

/// Encoded samples on disk. Every rank writes the samples of its share of a file's rows to a part of its own;
/// then every rank maps all parts and sees the samples in the order of the rows, however many ranks wrote
/// them.
///
///   part-0003.tokens   per sample: ids int32[n], labels int32[n], and loss_scale float32[n] where it is not
///                      1 throughout
///   part-0003.index    header {magic, samples, token bytes}, then one Entry a sample, ascending by row
///   part-0003.report   what was left out, as text (the writer's business)
namespace moebius::data {

class SampleWriter {
 public:
  /// Creates (or replaces) part `part` in `folder`, which must exist. Throws ClusterError where it cannot be
  /// written.
  SampleWriter(const std::filesystem::path& folder, std::int64_t part);
  /// `row` numbers must ascend; a row may have several samples.
  void add(std::int64_t row, const SampleView& sample);
  /// Makes the part whole: a part without its index does not count. `report` is kept as it is.
  void finish(const std::string& report);

 private:
  void check(const std::ofstream& stream, const char* action) const;

  std::filesystem::path stem_;
  std::ofstream tokens_;
  std::vector<std::byte> entries_;
  std::uint64_t offset_ = 0;  // bytes of `tokens` written
};

class SampleStore : public SampleSource {
 public:
  /// Maps parts 0 .. parts-1 of `folder`. Throws InputError naming the part that is missing or not whole.
  SampleStore(const std::filesystem::path& folder, std::int64_t parts);

  [[nodiscard]] std::int64_t count() const override { return std::int64_t(order_.size()); }
  [[nodiscard]] std::int64_t length(std::int64_t index) const override;
  void read(std::int64_t index, Sample& sample) const override;
  /// The number of the sample's row in its file, from 0.
  [[nodiscard]] std::int64_t row(std::int64_t index) const;
  [[nodiscard]] const std::vector<std::string>& reports() const { return reports_; }

 private:
  struct Place {  // of a sample: 8 bytes, so that a million of them stay small
    std::uint32_t part, entry;
  };
  struct Part {
    MappedFile tokens, index;
  };
  std::vector<Part> parts_;
  std::vector<Place> order_;
  std::vector<std::string> reports_;
};

}  // namespace moebius::data
