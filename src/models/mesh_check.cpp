#include <algorithm>
#include <fmt/format.h>
#include <functional>

#include "base/text.h"
#include "models/models.h"

namespace moebius::models {
namespace {

/// "use 1, 2, 4": every degree up to `most` that fits.
std::string usable(std::int64_t most, const std::function<bool(std::int64_t)>& fits) {
  std::vector<std::string> degrees;
  for (std::int64_t degree = 1; degree <= most; ++degree) {
    if (fits(degree)) degrees.push_back(std::to_string(degree));
  }
  return "use " + join(degrees);
}

struct Extent {
  std::int64_t size;
  std::string what;
};

void check_tensor(const ModelConfig& config, std::int64_t tensor, std::vector<MeshProblem>& problems) {
  std::vector<Extent> extents{{config.kv_heads, "key and value heads"}, {config.heads, "attention heads"}};
  if (config.dense_width > 0) extents.push_back({config.dense_width, "MLP width (intermediate_size)"});
  const auto fits = [&](std::int64_t degree) {
    for (const Extent& extent : extents) {
      if (extent.size % degree != 0) return false;
    }
    return true;
  };
  for (const Extent& extent : extents) {
    if (extent.size % tensor == 0) continue;
    problems.push_back(
        {"parallel.tensor", fmt::format("parallel.tensor = {} does not divide the model's {} {} ({})", tensor,
                                        extent.size, extent.what, usable(config.kv_heads, fits))});
    return;
  }
}

/// An axis that cuts the experts.
struct ExpertAxis {
  const char* key;
  std::int64_t degree;
  Extent extent;
};

void check_expert_axis(const ModelConfig& config, const ExpertAxis& axis,
                       std::vector<MeshProblem>& problems) {
  const auto& [size, what] = axis.extent;
  const bool has_experts = std::ranges::find(config.is_moe_layer, true) != config.is_moe_layer.end();
  if (!has_experts && axis.degree > 1) {
    problems.push_back({axis.key, fmt::format("{} = {}, but the model ({}) has no experts (use 1)", axis.key,
                                              axis.degree, config.family)});
  } else if (has_experts && size % axis.degree != 0) {
    problems.push_back(
        {axis.key, fmt::format("{} = {} does not divide the model's {} {} ({})", axis.key, axis.degree, size,
                               what, usable(size, [size = size](std::int64_t n) { return size % n == 0; }))});
  }
}

}  // namespace

std::vector<MeshProblem> check_mesh(const ModelConfig& config, const cluster::Degrees& degrees) {
  std::vector<MeshProblem> problems;
  check_tensor(config, degrees.tensor, problems);
  check_expert_axis(config, {"parallel.expert", degrees.expert, {config.experts, "experts"}}, problems);
  check_expert_axis(config,
                    {"parallel.expert_tensor",
                     degrees.expert_tensor,
                     {config.expert_width, "columns of an expert (moe_intermediate_size)"}},
                    problems);
  if (degrees.pipeline > config.layers) {
    problems.push_back(
        {"parallel.pipeline",
         fmt::format("parallel.pipeline = {} stages for the model's {} layers (use at most {})",
                     degrees.pipeline, config.layers, config.layers)});
  }
  return problems;
}

}  // namespace moebius::models
