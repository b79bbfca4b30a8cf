#pragma once
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/slabs.h"
#include "hub/folder.h"
#include "models/parameter_table.h"
#include "tensor/convert.h"
#include "tests/support/safetensors.h"

namespace moebius::test {

/// A table with each kind of row: split over rows, over columns, not at all, experts in two names.
inline models::ParameterTable small_table() {
  using models::Axis;
  return {
      {.name = "embedding",
       .hub = {"model.embed_tokens.weight"},
       .shape = {16, 8},
       .splits = {{Axis::tensor, 0}}},
      {.name = "layers.0.norm", .hub = {"model.layers.0.input_layernorm.weight"}, .shape = {8}},
      {.name = "layers.0.out",
       .hub = {"model.layers.0.self_attn.o_proj.weight"},
       .shape = {8, 12},
       .splits = {{Axis::tensor, 1}}},
      {.name = "layers.0.router", .hub = {"model.layers.0.mlp.gate.weight"}, .shape = {8, 8}},
      {.name = "layers.0.experts.gate_up",
       .hub = {"model.layers.0.mlp.experts.{expert}.gate_proj.weight",
               "model.layers.0.mlp.experts.{expert}.up_proj.weight"},
       .shape = {8, 2, 6, 8},
       .splits = {{Axis::expert, 0}, {Axis::expert_tensor, 2}}},
      {.name = "layers.0.experts.down",
       .hub = {"model.layers.0.mlp.experts.{expert}.down_proj.weight"},
       .shape = {8, 8, 6},
       .splits = {{Axis::expert, 0}, {Axis::expert_tensor, 2}}},
  };
}

/// Element `index` of row `row`: exact in float32, bfloat16 and float16, different for neighbours and rows.
inline float small_value(std::size_t row, std::int64_t index) {
  return float(int((std::uint64_t(index) * 37 + row * 11) % 251) - 125) / 8.0f;
}

inline std::vector<float> small_values(const models::ParameterTable& table, std::size_t row) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < table[row].size(); ++i) values.push_back(small_value(row, i));
  return values;
}

/// The hub tensors of small_table, each row in `dtypes[row]`.
inline std::vector<RawTensor> small_hub_tensors(const models::ParameterTable& table,
                                                const std::vector<Dtype>& dtypes) {
  std::vector<RawTensor> tensors;
  for (std::size_t row = 0; row < table.size(); ++row) {
    const std::vector<float> values = small_values(table, row);
    std::int64_t begin = 0;
    for (const models::HubTensor& hub : models::hub_tensors(table[row])) {
      std::int64_t count = 1;
      for (const std::int64_t extent : hub.shape) count *= extent;
      std::string bytes(std::size_t(count * size_of(dtypes[row])), '\0');
      convert(Dtype::float32, values.data() + begin, dtypes[row], bytes.data(), count);
      tensors.push_back({hub.name, std::string(hub::safetensors_word(dtypes[row])), hub.shape, bytes});
      begin += count;
    }
  }
  return tensors;
}

/// "BF16" and the bytes, of each tensor of a folder, as they lie in its files.
inline std::map<std::string, std::string> tensor_bytes(const hub::HubFolder& folder) {
  std::map<std::string, std::string> all;
  for (const auto& [name, place] : folder.tensors()) {
    const hub::TensorInfo& tensor = *place.tensor;
    std::string bytes(std::size_t(tensor.bytes.size()), '\0');
    place.file->read(tensor, checkpoint::whole_slab(tensor.shape), *tensor.dtype, bytes.data());
    all[name] = tensor.dtype_word + bytes;
  }
  return all;
}

/// The shard that a slab of row `row` is, by the definition of row-major order.
inline std::vector<float> small_shard(const models::ParameterTable& table, std::size_t row,
                                      const models::Slab& slab) {
  std::vector<float> values;
  for (std::int64_t local = 0; local < slab.size(); ++local) {
    std::int64_t rest = local, whole = 0, stride = 1;
    for (std::size_t dim = slab.ranges.size(); dim-- > 0;) {
      whole += (slab.ranges[dim].begin + rest % slab.ranges[dim].size()) * stride;
      rest /= slab.ranges[dim].size();
      stride *= table[row].shape[dim];
    }
    values.push_back(small_value(row, whole));
  }
  return values;
}

}  // namespace moebius::test
