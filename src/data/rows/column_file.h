#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/rows/json.h"

/// Files that keep rows by columns (parquet). The reading is Apache Arrow's, behind these interfaces: arrow/
/// is the only folder that sees its headers, and a build without it has arrow_absent/ instead.
namespace moebius::data {

/// Some rows that were decoded together. Nothing of it changes, so threads may share it.
class ColumnBatch {
 public:
  ColumnBatch() = default;
  ColumnBatch(const ColumnBatch&) = delete;
  ColumnBatch& operator=(const ColumnBatch&) = delete;
  virtual ~ColumnBatch() = default;

  [[nodiscard]] virtual std::int64_t rows() const = 0;
  /// The columns of row `index` of the batch, from 0. What is null is left out, at every depth: such a file
  /// cannot say whether a row has a null or lacks the column. Throws InputError with file, row and column
  /// where text is not UTF-8.
  [[nodiscard]] virtual Json::Object columns(std::int64_t index) const = 0;
};

/// Batches of one row group, in order.
class ColumnReader {
 public:
  ColumnReader() = default;
  ColumnReader(const ColumnReader&) = delete;
  ColumnReader& operator=(const ColumnReader&) = delete;
  virtual ~ColumnReader() = default;

  /// The next batch, null behind the last. Throws InputError where the bytes are not what the file's footer
  /// says.
  [[nodiscard]] virtual std::shared_ptr<const ColumnBatch> next() = 0;
};

class ColumnFile {
 public:
  /// A column of a type that no JSON value can stand for, such as a time.
  struct Unreadable {
    std::string name, type;
  };

  ColumnFile() = default;
  ColumnFile(const ColumnFile&) = delete;
  ColumnFile& operator=(const ColumnFile&) = delete;
  virtual ~ColumnFile() = default;

  /// Rows of each row group.
  [[nodiscard]] virtual const std::vector<std::int64_t>& groups() const = 0;
  /// Columns that rows are given without.
  [[nodiscard]] virtual const std::vector<Unreadable>& unreadable() const = 0;
  /// Holds some pages of the group in memory at a time, never the whole of it.
  [[nodiscard]] virtual std::unique_ptr<ColumnReader> read(std::size_t group) const = 0;
};

/// What reads such files: "Apache Arrow 22.0.0", or "" in builds without.
[[nodiscard]] std::string parquet_reader();

/// Throws InputError where the file cannot be read, is no parquet file or is cut short, and in builds without
/// Arrow.
[[nodiscard]] std::unique_ptr<ColumnFile> open_parquet(const std::filesystem::path& path);

}  // namespace moebius::data
