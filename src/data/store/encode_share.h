#pragma once
#include <string>

#include "data/encode/encoder.h"
#include "data/rows/dropped.h"
#include "data/rows/row.h"
#include "data/rows/share.h"
#include "data/rows/source.h"
#include "data/store/sample_store.h"

namespace moebius::data {

/// What became of a share.
struct ShareReport {
  std::int64_t rows = 0;  // of the share
  DropCounts dropped;     // as of file 0

  /// A text that from_text reads back: what a part of the store keeps beside its samples.
  [[nodiscard]] std::string text() const;
  [[nodiscard]] static ShareReport from_text(std::string_view text);
  void add(const ShareReport& other);
};

struct ShareOfFile {
  const RowFile& file;
  const RowSettings& settings;
  const Encoder& encoder;
  Share share;
};

/// Encodes the rows of the share, on all OpenMP threads; samples go to
/// `writer` in the order of the rows, which holds a few thousand rows in memory at a time. Throws InputError
/// for a row that is no row.
[[nodiscard]] ShareReport encode_share(const ShareOfFile& work, SampleWriter& writer);

}  // namespace moebius::data
