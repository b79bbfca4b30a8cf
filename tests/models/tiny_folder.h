#pragma once
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/bf16.h"
#include "models/shards.h"
#include "tests/models/model_rig.h"
#include "tests/support/files.h"

namespace moebius::test {

/// All tensors of the safetensors files of a small folder as fp32, by name. For tests: no checks.
inline std::map<std::string, std::vector<float>> tensors_of(const std::filesystem::path& folder) {
  std::map<std::string, std::vector<float>> tensors;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".safetensors") continue;
    const std::string bytes = slurp(entry.path());
    std::uint64_t header_size = 0;
    std::memcpy(&header_size, bytes.data(), 8);
    const char* data = bytes.data() + 8 + header_size;
    const auto header = nlohmann::json::parse(bytes.substr(8, header_size));
    for (const auto& [name, info] : header.items()) {
      if (name == "__metadata__") continue;
      const std::size_t begin = info.at("data_offsets")[0], end = info.at("data_offsets")[1];
      std::vector<float>& values = tensors[name];
      if (info.at("dtype") == "F32") {
        values.resize((end - begin) / 4);
        std::memcpy(values.data(), data + begin, end - begin);
        continue;
      }
      std::vector<bf16> halves((end - begin) / 2);
      std::memcpy(halves.data(), data + begin, end - begin);
      for (const bf16 half : halves) values.push_back(float(half));
    }
  }
  return tensors;
}

/// This rank's shards of a folder's weights.
inline void load(const std::filesystem::path& folder, const models::Shards<float, Space::host>& shards) {
  const auto tensors = tensors_of(folder);
  const models::ShardLayout& layout = shards.layout();
  for (std::size_t i = 0; i < layout.count(); ++i) {
    const models::Parameter& parameter = layout.table()[i];
    std::vector<float> whole;  // hub_tensors come in the parameter's own order
    for (const models::HubTensor& tensor : models::hub_tensors(parameter)) {
      const std::vector<float>& values = tensors.at(tensor.name);
      whole.insert(whole.end(), values.begin(), values.end());
    }
    for (const models::Run& run : models::runs_of(parameter, layout.row(i).slab)) {
      std::copy_n(whole.begin() + run.whole, run.count, shards[i].data + run.local);
    }
  }
}

inline models::ModelConfig config_of(const std::filesystem::path& folder) {
  return models::read_config(slurp(folder / "config.json"), (folder / "config.json").string());
}

inline std::vector<nlohmann::json> json_rows(const std::filesystem::path& path) {
  std::vector<nlohmann::json> rows;
  std::ifstream stream(path);
  for (std::string line; std::getline(stream, line);) rows.push_back(nlohmann::json::parse(line));
  return rows;
}

inline Row row_of(const nlohmann::json& json) {
  Row row{json.at("input_ids"), json.contains("labels") ? json.at("labels") : json.at("input_ids"), {}};
  if (json.contains("loss_scale") && !json.at("loss_scale").is_null())
    row.loss_scale = json.at("loss_scale").get<std::vector<float>>();
  return row;
}

inline std::int64_t trained_count(const Row& row) {
  return std::int64_t(row.labels.size()) - std::count(row.labels.begin() + 1, row.labels.end(), -100) -
         (row.labels.empty() ? 0 : 1);
}

}  // namespace moebius::test
