#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "hub/safetensors.h"
#include "models/parameter_table.h"

namespace moebius::hub {

/// Where each tensor of a model will lie in the files of a Hugging Face folder: a pure function of table,
/// types and file size, so every rank knows the place of every byte without being told.
struct FilePlan {
  struct File {
    std::string name;                 // "model.safetensors" or "model-00001-of-00003.safetensors"
    std::string header;               // the file's first bytes
    std::vector<TensorInfo> tensors;  // in the order of the data
    std::int64_t size = 0;            // header and data
  };
  struct Tensor {
    std::size_t parameter;  // row of the table
    models::HubTensor hub;
    Dtype dtype;
    std::size_t file;
    std::int64_t offset;  // byte of the file
  };
  std::vector<File> files;
  std::vector<Tensor> tensors;    // in the order of files and offsets
  std::int64_t tensor_bytes = 0;  // the sum that an index calls total_size
};

/// Tensors in the order of the table; a new file where the next tensor would make the data longer than
/// `max_file_bytes` (a longer tensor has a file alone). Within a file, wider types come first, so that each
/// tensor is aligned to its items. `dtypes`: of each row of the table.
[[nodiscard]] FilePlan plan_files(const models::ParameterTable& table, const std::vector<Dtype>& dtypes,
                                  std::int64_t max_file_bytes);

/// A piece of a tensor that is read and written in one go: rows of its first dim.
struct Chunk {
  std::size_t tensor;  // of FilePlan::tensors
  Range rows;
  std::int64_t bytes;
};
/// The chunks of `rank` of `ranks`: every byte falls to one rank, neighbours to the same, about as many to
/// each. A chunk has at most `max_bytes`, or one row.
[[nodiscard]] std::vector<Chunk> chunks_of_rank(const FilePlan& plan, std::int64_t max_bytes,
                                                std::int64_t ranks, std::int64_t rank);

/// The text of model.safetensors.index.json; empty where the plan has one file, which needs none.
[[nodiscard]] std::string index_text(const FilePlan& plan);

}  // namespace moebius::hub
