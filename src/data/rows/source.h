#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/mapped_file.h"
#include "data/rows/column_file.h"
#include "data/rows/share.h"

namespace moebius::data {

enum class RowFormat : std::uint8_t { json_lines, json_array, csv, text_lines, parquet };

/// One row as it stands in the file.
struct RawRow {
  std::int64_t number = 0;  // from 1, blank lines not counted
  // of text
  std::string_view text;   // into the mapped file
  std::size_t offset = 0;  // of its first byte
  // of parquet
  std::shared_ptr<const ColumnBatch> batch;
  std::int64_t index = 0;  // in the batch
};

/// A file of rows, told apart by its name and first letter: .jsonl and .json hold one object a line, or one
/// array of objects; .csv has its columns in the first record; each line of .txt is a row with the column
/// "text"; .parquet has row groups. All but the last are mapped, and a UTF-8 byte order mark is passed over.
/// Nothing of it changes, so all threads of a rank may share it.
class RowFile {
 public:
  /// Throws InputError for a file that cannot be read or whose kind is not built, by name.
  explicit RowFile(std::filesystem::path path);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] RowFormat format() const { return format_; }
  [[nodiscard]] std::string_view text() const { return file_.text(); }
  [[nodiscard]] std::size_t first_row() const { return first_row_; }  // offset: after mark, '[' or header
  [[nodiscard]] const std::vector<std::string>& columns() const { return columns_; }  // csv
  [[nodiscard]] const ColumnFile* column_file() const { return column_file_.get(); }  // parquet; else null

  /// How rank `index` of `of` shares the rows with the others: in small blocks, or in row groups where
  /// decoding them costs, and parts of them where they are few.
  [[nodiscard]] Share share(std::int64_t index, std::int64_t of) const;

  /// "a.jsonl:17:4": line and column (in bytes), from 1.
  [[nodiscard]] std::string place(std::size_t offset) const;
  /// The same of a row; "a.parquet: row 17" in a file without lines.
  [[nodiscard]] std::string place(const RawRow& row) const;

 private:
  std::filesystem::path path_;
  MappedFile file_;
  RowFormat format_ = RowFormat::json_lines;
  std::size_t first_row_ = 0;
  std::vector<std::string> columns_;
  std::unique_ptr<const ColumnFile> column_file_;
};

/// Whether files of this name can be read as rows: "a.jsonl", not "README.md".
[[nodiscard]] bool is_row_file(const std::filesystem::path& path);

/// Goes through a file row by row, finding only where each begins and ends: at the speed of memory, so that
/// every rank may pass over the rows of the others. Of parquet it decodes the row groups that hold rows of
/// the share.
class RowReader {
 public:
  /// All rows, or those of a share.
  explicit RowReader(const RowFile& file, Share share = {})
      : file_(&file), share_(share), at_(file.first_row()) {}

  /// The next row, or nothing at the end. Throws InputError with file:line:column where the rows' frame is
  /// broken (an array that is not closed, a quote that is not); what is in a row is not looked at.
  std::optional<RawRow> next();

 private:
  std::optional<RawRow> next_of_all();
  std::optional<RawRow> next_line();
  std::optional<RawRow> next_text();
  std::optional<RawRow> next_element();
  std::optional<RawRow> next_record();
  std::optional<RawRow> next_of_columns();
  bool open_batch();
  void close_array();
  RawRow row(std::size_t begin, std::size_t end);
  [[noreturn]] void fail(std::size_t offset, std::string_view reason) const;

  const RowFile* file_;
  Share share_;
  std::size_t at_;
  std::int64_t rows_ = 0;
  bool is_comma_passed_ = false;  // of an array: another row must follow
  bool is_array_closed_ = false;

  struct Columns {  // of parquet
    std::unique_ptr<ColumnReader> group;
    std::size_t next_group = 0;
    std::int64_t group_end = 0;  // row behind the open group
    std::shared_ptr<const ColumnBatch> batch;
    std::int64_t next_index = 0;  // in the batch
  } columns_;
};

}  // namespace moebius::data
