#include <algorithm>
#include <array>
#include <arrow/io/file.h>
#include <arrow/record_batch.h>
#include <arrow/result.h>
#include <arrow/type.h>
#include <arrow/util/config.h>
#include <fmt/format.h>
#include <fstream>
#include <parquet/arrow/reader.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>
#include <parquet/properties.h>
#include <utility>

#include "base/error.h"
#include "data/arrow/values.h"
#include "data/rows/column_file.h"

namespace moebius::data {
namespace {

constexpr std::int64_t kRowsAtOnce = 512;
constexpr std::int64_t kReadAhead = std::int64_t{1} << 18;  // bytes of each column

/// Arrow's words on one line.
std::string words(const char* text) {
  std::string line(text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

std::string words(const arrow::Status& status) {
  return words(status.message().c_str());
}

class Batch : public ColumnBatch {
 public:
  struct Origin {
    std::string file;
    std::int64_t first_row = 0;  // of the batch in the file, from 0
  };
  Batch(std::shared_ptr<arrow::RecordBatch> rows, Origin origin)
      : rows_(std::move(rows)), origin_(std::move(origin)), columns_(rows_->columns()) {
    for (const auto& field : rows_->schema()->fields()) is_readable_.push_back(is_readable(*field->type()));
  }

  [[nodiscard]] std::int64_t rows() const override { return rows_->num_rows(); }

  [[nodiscard]] Json::Object columns(std::int64_t index) const override {
    Json::Object row;
    for (std::size_t column = 0; column < columns_.size(); ++column) {
      if (!is_readable_[column]) continue;
      const std::string& name = rows_->column_name(int(column));
      try {
        Json value = value_at(*columns_[column], index);
        if (!value.is_null()) set_member(row, name, std::move(value));
      } catch (const NotUtf8& error) {
        throw InputError(
            fmt::format("{}: row {}, column '{}': the text is not UTF-8 (write it again as UTF-8)",
                        origin_.file, origin_.first_row + index + 1, name));
      }
    }
    return row;
  }

 private:
  std::shared_ptr<arrow::RecordBatch> rows_;
  Origin origin_;
  std::vector<std::shared_ptr<arrow::Array>> columns_;
  std::vector<bool> is_readable_;
};

class Reader : public ColumnReader {
 public:
  struct Group {
    std::string file;
    std::size_t number = 0;
    std::int64_t first_row = 0, rows = 0;
  };
  Reader(std::unique_ptr<parquet::arrow::FileReader> file, Group group)
      : file_(std::move(file)), group_(std::move(group)) {
    auto batches = file_->GetRecordBatchReader({int(group_.number)});
    if (!batches.ok()) fail(words(batches.status()));
    batches_ = std::move(batches).ValueOrDie();
  }

  std::shared_ptr<const ColumnBatch> next() override {
    std::shared_ptr<arrow::RecordBatch> batch;
    try {
      const arrow::Status status = batches_->ReadNext(&batch);
      if (!status.ok()) fail(words(status));
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {  // sizes in damaged bytes make all kinds of them
      fail(words(error.what()));
    }
    if (!batch) {
      if (read_ != group_.rows) fail(fmt::format("{} rows, but the footer says {}", read_, group_.rows));
      return nullptr;
    }
    const std::int64_t first = group_.first_row + read_;
    read_ += batch->num_rows();
    return std::make_shared<Batch>(std::move(batch), Batch::Origin{group_.file, first});
  }

 private:
  [[noreturn]] void fail(const std::string& reason) const {
    throw InputError(fmt::format(
        "{}: row group {} (rows {} to {}) cannot be read: the file is damaged, make it "
        "again: {}",
        group_.file, group_.number + 1, group_.first_row + 1, group_.first_row + group_.rows, reason));
  }

  std::unique_ptr<parquet::arrow::FileReader> file_;
  std::unique_ptr<arrow::RecordBatchReader> batches_;
  Group group_;
  std::int64_t read_ = 0;  // rows
};

class ParquetFile : public ColumnFile {
 public:
  explicit ParquetFile(const std::filesystem::path& path) : path_(path.string()) {
    expect_whole();
    const auto reader = open();
    metadata_ = reader->parquet_reader()->metadata();
    for (int group = 0; group < metadata_->num_row_groups(); ++group)
      groups_.push_back(metadata_->RowGroup(group)->num_rows());
    std::shared_ptr<arrow::Schema> schema;
    const arrow::Status status = reader->GetSchema(&schema);
    if (!status.ok()) fail(words(status));
    for (const auto& field : schema->fields()) {
      if (!is_readable(*field->type())) unreadable_.push_back({field->name(), field->type()->ToString()});
    }
  }

  [[nodiscard]] const std::vector<std::int64_t>& groups() const override { return groups_; }
  [[nodiscard]] const std::vector<Unreadable>& unreadable() const override { return unreadable_; }

  [[nodiscard]] std::unique_ptr<ColumnReader> read(std::size_t group) const override {
    Reader::Group about{.file = path_, .number = group, .rows = groups_.at(group)};
    for (std::size_t i = 0; i < group; ++i) about.first_row += groups_[i];
    return std::make_unique<Reader>(open(), std::move(about));
  }

 private:
  /// The marks at both ends: what is cut short, or still being written, lacks the second.
  void expect_whole() const {
    std::ifstream file(path_, std::ios::binary);
    std::array<char, 4> first{}, last{};
    file.read(first.data(), first.size());
    const bool begins = file && std::string_view(first.data(), first.size()) == "PAR1";
    if (!begins) fail("it does not begin with PAR1");
    file.seekg(-std::streamoff(last.size()), std::ios::end);
    const bool has_end = file.tellg() > std::streamoff(first.size());
    file.read(last.data(), last.size());
    const std::string_view mark(last.data(), last.size());
    if (mark == "PARE") fail("its footer is encrypted, which is not built; write it without encryption");
    if (!has_end || mark != "PAR1") {
      throw InputError(path_ +
                       ": the file does not end with PAR1: it is cut short or still being written; copy or "
                       "write it again");
    }
  }

  [[nodiscard]] std::unique_ptr<parquet::arrow::FileReader> open() const {
    try {
      auto input = arrow::io::ReadableFile::Open(path_);
      if (!input.ok()) fail(words(input.status()));
      parquet::ReaderProperties properties = parquet::default_reader_properties();
      properties.enable_buffered_stream();
      properties.set_buffer_size(kReadAhead);
      parquet::ArrowReaderProperties arrow_properties(false);  // threads: ours encode already
      arrow_properties.set_batch_size(kRowsAtOnce);
      arrow_properties.set_pre_buffer(false);
      parquet::arrow::FileReaderBuilder builder;
      const arrow::Status opened = builder.Open(std::move(input).ValueOrDie(), properties, metadata_);
      if (!opened.ok()) fail(words(opened));
      auto reader = builder.properties(arrow_properties)->Build();
      if (!reader.ok()) fail(words(reader.status()));
      return std::move(reader).ValueOrDie();
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {  // sizes in damaged bytes make all kinds of them
      fail(words(error.what()));
    }
  }

  [[noreturn]] void fail(const std::string& reason) const {
    throw InputError(fmt::format("{}: not a parquet file that can be read: {}", path_, reason));
  }

  std::string path_;
  std::shared_ptr<parquet::FileMetaData> metadata_;  // read once; null until then
  std::vector<std::int64_t> groups_;
  std::vector<Unreadable> unreadable_;
};

}  // namespace

std::string parquet_reader() {
  return std::string("Apache Arrow ") + ARROW_VERSION_STRING;
}

std::unique_ptr<ColumnFile> open_parquet(const std::filesystem::path& path) {
  std::error_code error;
  const bool is_file = std::filesystem::is_regular_file(path, error);
  if (!is_file) {
    throw InputError(
        fmt::format("{}: {}", path.string(), error ? "cannot open: " + error.message() : "not a file"));
  }
  return std::make_unique<ParquetFile>(path);
}

}  // namespace moebius::data
