#include "data/rows/source.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "data/rows/csv.h"

namespace moebius::data {
namespace {

constexpr std::array<std::string_view, 5> kBuilt{".jsonl", ".json", ".csv", ".txt", ".parquet"};
constexpr std::array<std::string_view, 4> kCompressed{".gz", ".zst", ".xz", ".bz2"};

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr std::string_view kSpace = " \t\r\n";

std::string extension_of(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char letter) { return char(std::tolower(letter)); });
  return extension;
}

void expect_known_kind(const std::filesystem::path& path, const std::string& extension) {
  if (std::find(kBuilt.begin(), kBuilt.end(), extension) != kBuilt.end()) return;
  if (std::find(kCompressed.begin(), kCompressed.end(), extension) != kCompressed.end()) {
    throw InputError(
        fmt::format("{}: compressed text is not built (unpack it, or write the rows as .parquet, which is "
                    "compressed inside)",
                    path.string()));
  }
  throw InputError(
      fmt::format("{}: unknown kind of data file (known: {})", path.string(), fmt::join(kBuilt, ", ")));
}

std::size_t skip_space(std::string_view text, std::size_t at) {
  return std::min(text.find_first_not_of(kSpace, at), text.size());
}

/// Past the closing quote of the string whose opening quote stands at `at`, or npos.
std::size_t after_string(std::string_view text, std::size_t at) {
  const std::size_t opening = at;
  while (true) {
    at = text.find('"', at + 1);
    if (at == std::string_view::npos) return at;
    std::size_t backslashes = 0;
    while (at - 1 - backslashes > opening && text[at - 1 - backslashes] == '\\') ++backslashes;
    if (backslashes % 2 == 0) return at + 1;
  }
}

/// Past the JSON value that begins at `at`, by its brackets and quotes alone; npos where the text ends first.
std::size_t after_value(std::string_view text, std::size_t at) {
  int depth = 0;
  while (at < text.size()) {
    switch (text[at]) {
      case '"':
        at = after_string(text, at);
        if (depth == 0 || at == std::string_view::npos) return at;
        continue;
      case '{':
      case '[': ++depth; break;
      case '}':
      case ']':
        if (depth == 0) return at;  // the end of the array around a scalar
        if (--depth == 0) return at + 1;
        break;
      case ',':
        if (depth == 0) return at;
        break;
      default: break;
    }
    ++at;
  }
  return std::string_view::npos;
}

}  // namespace

RowFile::RowFile(std::filesystem::path path) : path_(std::move(path)) {
  const std::string extension = extension_of(path_);
  expect_known_kind(path_, extension);
  if (extension == ".parquet") {
    format_ = RowFormat::parquet;
    column_file_ = open_parquet(path_);
    return;
  }
  file_ = MappedFile(path_);
  first_row_ = text().starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
  if (extension == ".csv") {
    format_ = RowFormat::csv;
    const CsvRecord header = csv_record(text(), first_row_);
    if (!header.is_closed) throw InputError(place(header.begin) + " a quoted field is not closed");
    columns_ = csv_fields(text().substr(header.begin, header.end - header.begin));
    first_row_ = header.next;
    return;
  }
  if (extension == ".txt") {
    format_ = RowFormat::text_lines;
    return;
  }
  const std::size_t first = skip_space(text(), first_row_);
  if (first < text().size() && text()[first] == '[') format_ = RowFormat::json_array, first_row_ = first + 1;
}

std::string RowFile::place(std::size_t offset) const {
  const std::string_view before = text().substr(0, offset);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const std::size_t line_begin = before.rfind('\n') + 1;  // npos + 1 = 0
  return fmt::format("{}:{}:{}", path_.string(), line, before.size() - line_begin + 1);
}

std::string RowFile::place(const RawRow& row) const {
  if (format_ == RowFormat::parquet) return fmt::format("{}: row {}", path_.string(), row.number);
  return place(row.offset);
}

Share RowFile::share(std::int64_t index, std::int64_t of) const {
  Share share{.index = index, .of = of};
  if (column_file_ == nullptr || column_file_->groups().empty()) return share;
  const std::vector<std::int64_t>& groups = column_file_->groups();
  const std::int64_t rows = std::accumulate(groups.begin(), groups.end(), std::int64_t{0});
  const std::int64_t even = (rows + of - 1) / of;
  share.block = std::max<std::int64_t>({std::min(groups.front(), even), share.block, 1});
  return share;
}

bool is_row_file(const std::filesystem::path& path) {
  return std::find(kBuilt.begin(), kBuilt.end(), extension_of(path)) != kBuilt.end();
}

std::optional<RawRow> RowReader::next() {
  while (true) {
    std::optional<RawRow> row = next_of_all();
    if (!row || share_.holds(row->number - 1)) return row;
  }
}

std::optional<RawRow> RowReader::next_of_all() {
  switch (file_->format()) {
    case RowFormat::parquet: return next_of_columns();
    case RowFormat::text_lines: return next_text();
    case RowFormat::json_array: return next_element();
    case RowFormat::csv: return next_record();
    default: return next_line();
  }
}

std::optional<RawRow> RowReader::next_line() {
  const std::string_view text = file_->text();
  while (at_ < text.size()) {
    const std::size_t begin = at_;
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    at_ = end + 1;
    const std::string_view line = text.substr(begin, end - begin);
    if (line.find_first_not_of(kSpace) != std::string_view::npos) return row(begin, end);
  }
  return std::nullopt;
}

/// As Python reads lines: ended by \n, \r\n or \r; blank ones count.
std::optional<RawRow> RowReader::next_text() {
  const std::string_view text = file_->text();
  if (at_ >= text.size()) return std::nullopt;
  const std::size_t begin = at_;
  const std::size_t end = std::min(text.find_first_of("\r\n", begin), text.size());
  at_ = end + (text.substr(end).starts_with("\r\n") ? 2 : 1);
  return row(begin, end);
}

std::optional<RawRow> RowReader::next_element() {
  if (is_array_closed_) return std::nullopt;
  const std::string_view text = file_->text();
  const std::size_t begin = skip_space(text, at_);
  if (begin < text.size() && text[begin] == ']' && !is_comma_passed_) {
    at_ = begin;
    close_array();
    return std::nullopt;
  }
  const std::size_t end = begin < text.size() ? after_value(text, begin) : std::string_view::npos;
  if (end == std::string_view::npos) fail(begin, "the array of rows ends here without ']'");
  if (end == begin) fail(begin, fmt::format("expected a row, found '{}'", text[begin]));
  at_ = skip_space(text, end);
  is_comma_passed_ = at_ < text.size() && text[at_] == ',';
  if (is_comma_passed_) {
    ++at_;
  } else if (at_ == text.size() || text[at_] != ']') {
    fail(at_, "expected ',' or ']' after a row");
  }
  return row(begin, end);
}

void RowReader::close_array() {
  at_ = skip_space(file_->text(), at_ + 1);
  if (at_ != file_->text().size()) fail(at_, "text after the array of rows");
  is_array_closed_ = true;
}

std::optional<RawRow> RowReader::next_record() {
  const std::string_view text = file_->text();
  while (at_ < text.size()) {
    const CsvRecord record = csv_record(text, at_);
    if (!record.is_closed) fail(record.begin, "a quoted field of the record that begins here is not closed");
    at_ = record.next;
    if (record.end > record.begin) return row(record.begin, record.end);
  }
  return std::nullopt;
}

std::optional<RawRow> RowReader::next_of_columns() {
  while (!columns_.batch || columns_.next_index == columns_.batch->rows()) {
    if (!open_batch()) return std::nullopt;
  }
  return RawRow{.number = ++rows_, .batch = columns_.batch, .index = columns_.next_index++};
}

/// The next batch of a group that the share meets; false behind the last group.
bool RowReader::open_batch() {
  columns_.batch.reset();
  columns_.next_index = 0;
  const ColumnFile& file = *file_->column_file();
  while (true) {
    if (share_.meets(rows_, columns_.group_end)) {
      if (!columns_.group) columns_.group = file.read(columns_.next_group - 1);
      columns_.batch = columns_.group->next();
      if (columns_.batch) return true;
    }
    columns_.group.reset();
    rows_ = columns_.group_end;
    if (columns_.next_group == file.groups().size()) return false;
    columns_.group_end += file.groups()[columns_.next_group++];
  }
}

RawRow RowReader::row(std::size_t begin, std::size_t end) {
  return {.number = ++rows_, .text = file_->text().substr(begin, end - begin), .offset = begin};
}

void RowReader::fail(std::size_t offset, std::string_view reason) const {
  throw InputError(fmt::format("{} {}", file_->place(offset), reason));
}

}  // namespace moebius::data
