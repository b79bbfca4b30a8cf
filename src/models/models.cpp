#include "models/models.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "models/decoder/config_keys.h"
#include "models/qwen2/qwen2.h"
#include "models/qwen3/qwen3.h"
#include "models/qwen3_moe/qwen3_moe.h"

namespace moebius::models {
namespace {

constexpr std::array kFamilies{kQwen2, kQwen3, kQwen3Moe};

const Family* find_family(std::string_view model_type) {
  const auto found = std::ranges::find(kFamilies, model_type, &Family::model_type);
  return found == kFamilies.end() ? nullptr : &*found;
}

std::string family_names() {
  std::vector<std::string> names;
  names.reserve(kFamilies.size());
  for (const Family& family : kFamilies) names.emplace_back(family.model_type);
  return join(names);
}

}  // namespace

std::span<const Family> families() {
  return kFamilies;
}

ModelConfig read_config(std::string_view text, const std::string& file) {
  const ConfigReader reader(text, file);
  const std::string model_type = reader.word("model_type").value_or("");
  const Family* family = find_family(model_type);
  if (family == nullptr && !reader.has("model_type")) {
    reader.refuse("model_type", "the key is missing; built are " + family_names());
  }
  if (family == nullptr) reader.refuse("model_type", "is not built; built are " + family_names());
  ModelConfig config;
  config.family = model_type;
  read_common_keys(reader, config);
  family->read(reader, config);
  check_sizes(reader, config);
  return config;
}

ParameterTable parameter_table(const ModelConfig& config) {
  return find_family(config.family)->parameters(config);
}

}  // namespace moebius::models
