#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/mapped_file.h"

namespace moebius::data {

enum class RowFormat : std::uint8_t { json_lines, json_array, csv };

/// A file of rows, mapped, and told apart by its name and first letter: .jsonl and .json hold one object a
/// line, or one array of objects; .csv has its columns in the first record. A UTF-8 byte order mark is
/// passed over. Nothing of it changes, so all threads of a rank may share it.
class RowFile {
 public:
  /// Throws InputError for a file that cannot be read or whose kind is not built, by name.
  explicit RowFile(std::filesystem::path path);

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] RowFormat format() const { return format_; }
  [[nodiscard]] std::string_view text() const { return file_.text(); }
  [[nodiscard]] std::size_t first_row() const { return first_row_; }  // offset: after mark, '[' or header
  [[nodiscard]] const std::vector<std::string>& columns() const { return columns_; }  // csv

  /// "a.jsonl:17:4": line and column (in bytes), from 1.
  [[nodiscard]] std::string place(std::size_t offset) const;

 private:
  std::filesystem::path path_;
  MappedFile file_;
  RowFormat format_ = RowFormat::json_lines;
  std::size_t first_row_ = 0;
  std::vector<std::string> columns_;
};

/// One row as it stands in the file.
struct RawRow {
  std::string_view text;    // into the mapped file
  std::size_t offset = 0;   // of its first byte
  std::int64_t number = 0;  // from 1, blank lines not counted
};

/// Goes through a file row by row, finding only where each begins and ends: at the speed of memory, so that
/// every rank may pass over the rows of the others.
class RowReader {
 public:
  explicit RowReader(const RowFile& file) : file_(&file), at_(file.first_row()) {}

  /// The next row, or nothing at the end. Throws InputError with file:line:column where the rows' frame is
  /// broken (an array that is not closed, a quote that is not); what is in a row is not looked at.
  std::optional<RawRow> next();

 private:
  std::optional<RawRow> next_line();
  std::optional<RawRow> next_element();
  std::optional<RawRow> next_record();
  void close_array();
  RawRow row(std::size_t begin, std::size_t end);
  [[noreturn]] void fail(std::size_t offset, std::string_view reason) const;

  const RowFile* file_;
  std::size_t at_;
  std::int64_t rows_ = 0;
  bool is_comma_passed_ = false;  // of an array: another row must follow
  bool is_array_closed_ = false;
};

}  // namespace moebius::data
