#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hub/safetensors.h"
#include "models/parameter_table.h"

namespace moebius::hub {

/// Where each tensor of a model will lie in the files of a Hugging Face folder: a pure function of table,
/// types and file size, so every rank knows the place of every byte without being told.
struct FilePlan {
  struct File {
    std::string name;                 // "<stem>.safetensors" or "<stem>-00001-of-00003.safetensors"
    std::string header;               // the file's first bytes
    std::vector<TensorInfo> tensors;  // in the order of the data
    std::int64_t size = 0;            // header and data
  };
  struct Place {
    std::size_t file;
    std::int64_t offset;  // byte of the file
  };
  std::vector<File> files;
  /// [row of the table][number in hub_tensors]: the tensors of a row are equally long and, one behind the
  /// other, the whole parameter in row-major order.
  std::vector<std::vector<Place>> places;
  std::vector<Dtype> dtypes;      // of each row of the table
  std::int64_t tensor_bytes = 0;  // the sum that an index calls total_size
};

/// Tensors in the order of the table; a new file where the next tensor would make the data longer than
/// `max_file_bytes` (a longer tensor has a file alone). Within a file, wider types come first, so that each
/// tensor is aligned to its items. `dtypes`: of each row of the table.
[[nodiscard]] FilePlan plan_files(const models::ParameterTable& table, std::vector<Dtype> dtypes,
                                  std::int64_t max_file_bytes, std::string_view stem = "model");

/// Bytes of a file that hold consecutive elements of a parameter.
struct FileSpan {
  std::size_t file;
  std::int64_t offset;  // byte of the file
  Range elements;       // of the whole parameter, row-major
};
/// Where elements of row `parameter` of the table lie: one span a tensor that has some of them.
[[nodiscard]] std::vector<FileSpan> spans_of(const FilePlan& plan, const models::Parameter& row,
                                             std::size_t parameter, Range elements);

/// The text of model.safetensors.index.json; empty where the plan has one file, which needs none.
[[nodiscard]] std::string index_text(const FilePlan& plan);

}  // namespace moebius::hub
