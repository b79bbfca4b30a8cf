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

}  // namespace

ModelNumbers numbers_of(const models::ModelConfig& config) {
  ModelNumbers numbers;
  for (const models::Parameter& parameter : models::parameter_table(config)) {
    numbers.parameters += parameter.size();
    numbers.met += met_by_a_token(parameter, config);
  }
  return numbers;
}

double flops_a_token(const models::ModelConfig& config, std::int64_t length) {
  const double attention = double(config.layers) * double(length) * double(config.heads * config.head_dim);
  return 6 * double(numbers_of(config).met) + 6 * attention;
}

}  // namespace moebius::plan
