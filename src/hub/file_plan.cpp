#include "hub/file_plan.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <utility>

#include "hub/safetensors_header.h"

namespace moebius::hub {
namespace {

std::int64_t size_of_shape(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  return count;
}

std::int64_t bytes_of(const FilePlan::Tensor& tensor) {
  return size_of_shape(tensor.hub.shape) * size_of(tensor.dtype);
}

/// The tensors with the number of their file; offsets are still to come.
std::vector<FilePlan::Tensor> assign_files(const models::ParameterTable& table,
                                           const std::vector<Dtype>& dtypes, std::int64_t max_file_bytes) {
  std::vector<FilePlan::Tensor> tensors;
  std::size_t file = 0;
  std::int64_t file_bytes = 0;
  for (std::size_t row = 0; row < table.size(); ++row) {
    for (models::HubTensor& hub : models::hub_tensors(table[row])) {
      FilePlan::Tensor tensor{row, std::move(hub), dtypes[row], file, 0};
      const std::int64_t bytes = bytes_of(tensor);
      if (file_bytes > 0 && file_bytes + bytes > max_file_bytes) tensor.file = ++file, file_bytes = 0;
      file_bytes += bytes;
      tensors.push_back(std::move(tensor));
    }
  }
  std::stable_sort(tensors.begin(), tensors.end(), [](const FilePlan::Tensor& a, const FilePlan::Tensor& b) {
    return std::pair(a.file, -size_of(a.dtype)) < std::pair(b.file, -size_of(b.dtype));
  });
  return tensors;
}

}  // namespace

FilePlan plan_files(const models::ParameterTable& table, const std::vector<Dtype>& dtypes,
                    std::int64_t max_file_bytes) {
  FilePlan plan;
  plan.tensors = assign_files(table, dtypes, max_file_bytes);
  plan.files.resize(plan.tensors.back().file + 1);
  for (FilePlan::Tensor& tensor : plan.tensors) {
    FilePlan::File& file = plan.files[tensor.file];
    const std::int64_t bytes = bytes_of(tensor);
    tensor.offset = file.size;  // in the data, until the headers are known
    file.tensors.push_back({.name = tensor.hub.name,
                            .dtype_word = std::string(safetensors_word(tensor.dtype)),
                            .dtype = tensor.dtype,
                            .shape = tensor.hub.shape,
                            .bytes = {file.size, file.size + bytes}});
    file.size += bytes;
    plan.tensor_bytes += bytes;
  }
  for (std::size_t i = 0; i < plan.files.size(); ++i) {
    FilePlan::File& file = plan.files[i];
    file.name = plan.files.size() == 1
                    ? "model.safetensors"
                    : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, plan.files.size());
    file.header = header_bytes(file.tensors);
    file.size += std::int64_t(file.header.size());
  }
  for (FilePlan::Tensor& tensor : plan.tensors) {
    tensor.offset += std::int64_t(plan.files[tensor.file].header.size());
  }
  return plan;
}

std::vector<Chunk> chunks_of_rank(const FilePlan& plan, std::int64_t max_bytes, std::int64_t ranks,
                                  std::int64_t rank) {
  std::vector<Chunk> chunks;
  std::int64_t bytes_before = 0;
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
    const std::int64_t rows = plan.tensors[i].hub.shape.front();
    const std::int64_t row_bytes = bytes_of(plan.tensors[i]) / std::max<std::int64_t>(rows, 1);
    const std::int64_t step = std::max<std::int64_t>(1, max_bytes / std::max<std::int64_t>(row_bytes, 1));
    for (std::int64_t begin = 0; begin < rows; begin += step) {
      const Range part{begin, std::min(begin + step, rows)};
      // floating point, as a product of bytes and ranks may overflow
      const auto taker = std::int64_t(double(bytes_before) / double(plan.tensor_bytes) * double(ranks));
      if (std::min(taker, ranks - 1) == rank) chunks.push_back({i, part, part.size() * row_bytes});
      bytes_before += part.size() * row_bytes;
    }
  }
  return chunks;
}

std::string index_text(const FilePlan& plan) {
  if (plan.files.size() == 1) return {};
  nlohmann::json index;
  index["metadata"]["total_size"] = plan.tensor_bytes;
  for (const FilePlan::Tensor& tensor : plan.tensors) {
    index["weight_map"][tensor.hub.name] = plan.files[tensor.file].name;
  }
  return index.dump(2) + "\n";
}

}  // namespace moebius::hub
