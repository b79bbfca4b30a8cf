#include "hub/file_plan.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <utility>

#include "hub/safetensors_header.h"

namespace moebius::hub {
namespace {

/// A tensor on its way into the plan.
struct Pending {
  std::size_t row, number, file;
  Dtype dtype;
  std::int64_t bytes;
  models::HubTensor hub;
};

std::vector<Pending> assign_files(const models::ParameterTable& table, const std::vector<Dtype>& dtypes,
                                  std::int64_t max_file_bytes) {
  std::vector<Pending> tensors;
  std::size_t file = 0;
  std::int64_t file_bytes = 0;
  for (std::size_t row = 0; row < table.size(); ++row) {
    std::vector<models::HubTensor> hub = models::hub_tensors(table[row]);
    const std::int64_t bytes = table[row].size() / std::int64_t(hub.size()) * size_of(dtypes[row]);
    for (std::size_t number = 0; number < hub.size(); ++number) {
      if (file_bytes > 0 && file_bytes + bytes > max_file_bytes) ++file, file_bytes = 0;
      file_bytes += bytes;
      tensors.push_back({row, number, file, dtypes[row], bytes, std::move(hub[number])});
    }
  }
  std::stable_sort(tensors.begin(), tensors.end(), [](const Pending& a, const Pending& b) {
    return std::pair(a.file, -size_of(a.dtype)) < std::pair(b.file, -size_of(b.dtype));
  });
  return tensors;
}

}  // namespace

FilePlan plan_files(const models::ParameterTable& table, std::vector<Dtype> dtypes,
                    std::int64_t max_file_bytes, std::string_view stem) {
  std::vector<Pending> tensors = assign_files(table, dtypes, max_file_bytes);
  FilePlan plan{.dtypes = std::move(dtypes)};
  plan.files.resize(tensors.back().file + 1);
  plan.places.resize(table.size());
  for (Pending& tensor : tensors) {
    FilePlan::File& file = plan.files[tensor.file];
    std::vector<FilePlan::Place>& places = plan.places[tensor.row];
    places.resize(std::max(places.size(), tensor.number + 1));
    places[tensor.number] = {tensor.file, file.size};  // in the data, until the headers are known
    file.tensors.push_back({.name = std::move(tensor.hub.name),
                            .dtype_word = std::string(safetensors_word(tensor.dtype)),
                            .dtype = tensor.dtype,
                            .shape = std::move(tensor.hub.shape),
                            .bytes = {file.size, file.size + tensor.bytes}});
    file.size += tensor.bytes;
    plan.tensor_bytes += tensor.bytes;
  }
  for (std::size_t i = 0; i < plan.files.size(); ++i) {
    FilePlan::File& file = plan.files[i];
    file.name = plan.files.size() == 1
                    ? fmt::format("{}.safetensors", stem)
                    : fmt::format("{}-{:05}-of-{:05}.safetensors", stem, i + 1, plan.files.size());
    file.header = header_bytes(file.tensors);
    file.size += std::int64_t(file.header.size());
  }
  for (std::vector<FilePlan::Place>& places : plan.places) {
    for (FilePlan::Place& place : places) place.offset += std::int64_t(plan.files[place.file].header.size());
  }
  return plan;
}

std::vector<FileSpan> spans_of(const FilePlan& plan, const models::Parameter& row, std::size_t parameter,
                               Range elements) {
  const std::vector<FilePlan::Place>& places = plan.places[parameter];
  const std::int64_t tensor_size = row.size() / std::int64_t(places.size());
  const std::int64_t item = size_of(plan.dtypes[parameter]);
  std::vector<FileSpan> spans;
  for (std::int64_t begin = elements.begin; begin < elements.end;) {
    const std::int64_t number = begin / tensor_size;
    const std::int64_t end = std::min(elements.end, (number + 1) * tensor_size);
    const FilePlan::Place& place = places[std::size_t(number)];
    spans.push_back({place.file, place.offset + (begin - number * tensor_size) * item, {begin, end}});
    begin = end;
  }
  return spans;
}

std::string index_text(const FilePlan& plan) {
  if (plan.files.size() == 1) return {};
  nlohmann::json index;
  index["metadata"]["total_size"] = plan.tensor_bytes;
  for (const FilePlan::File& file : plan.files) {
    for (const TensorInfo& tensor : file.tensors) index["weight_map"][tensor.name] = file.name;
  }
  return index.dump(2) + "\n";
}

}  // namespace moebius::hub
