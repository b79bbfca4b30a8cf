#include "plan/numbers.h"

#include <algorithm>

namespace moebius::plan {
namespace {

/// Of the elements of a row those that one token is multiplied with.
std::int64_t met_by_a_token(const models::Parameter& parameter, const models::ModelConfig& config) {
  const bool is_looked_up = parameter.name == "embedding" && !config.tied_embeddings;
  if (is_looked_up || parameter.shape.size() < 2) return 0;
  const bool has_experts = std::ranges::any_of(
      parameter.splits, [](const models::Split& split) { return split.axis == models::Axis::expert; });
  return has_experts ? parameter.size() / config.experts * config.top_k : parameter.size();
}

ModelNumbers numbers_in(const models::ParameterTable& table, const models::ModelConfig& config) {
  ModelNumbers numbers;
  for (const models::Parameter& parameter : table) {
    numbers.parameters += parameter.size();
    numbers.met += met_by_a_token(parameter, config);
  }
  return numbers;
}

}  // namespace

ModelNumbers numbers_of(const models::ModelConfig& config) {
  return numbers_in(models::parameter_table(config), config);
}

ModelNumbers numbers_of(const models::ModelConfig& config, const models::AdapterSettings& adapter) {
  return numbers_in(models::adapter_table(models::parameter_table(config), adapter), config);
}

double flops_a_token(const models::ModelConfig& config, std::int64_t length,
                     const std::optional<models::AdapterSettings>& adapter) {
  const double attention = double(config.layers) * double(length) * double(config.heads * config.head_dim);
  const double met = double(numbers_of(config).met);
  if (!adapter) return 6 * met + 6 * attention;
  return 4 * met + 6 * double(numbers_of(config, *adapter).met) + 6 * attention;
}

}  // namespace moebius::plan
