#include "models/stages.h"

#include <algorithm>
#include <stdexcept>

namespace moebius::models {
namespace {

constexpr double kSampleTokens = 4096;

/// Multiplications a token, forward. Backward takes twice as many everywhere.
double layer_cost(const ModelConfig& config, std::int64_t layer) {
  const double hidden = double(config.hidden), q = double(config.heads * config.head_dim);
  const double kv = double(config.kv_heads * config.head_dim);
  const double attention = hidden * (2 * q + 2 * kv) + kSampleTokens * q;  // half the scores, twice
  if (!config.is_moe_layer[std::size_t(layer)]) return attention + 3 * hidden * double(config.dense_width);
  const double experts = double(config.top_k) * 3 * double(config.expert_width);
  return attention + hidden * (double(config.experts) + experts);
}

double head_cost(const ModelConfig& config) {
  return double(config.hidden) * double(config.vocab);
}

/// How a row of layers is cut into parts; lower is better.
struct Quality {
  double largest = 0, squares = 0;
  friend bool operator<(const Quality& a, const Quality& b) {
    return a.largest != b.largest ? a.largest < b.largest : a.squares < b.squares;
  }

  [[nodiscard]] Quality with(double cost) const { return {std::max(largest, cost), squares + cost * cost}; }
};

/// costs[i] of layer i; the last part costs `behind` more. Best cut by dynamic programming over the parts.
std::vector<Range> cut(const std::vector<double>& costs, std::int64_t parts, double behind) {
  const auto layers = std::int64_t(costs.size());
  std::vector<double> before{0};  // cost of all layers before
  for (const double cost : costs) before.push_back(before.back() + cost);
  struct Best {
    Quality quality;
    std::int64_t begin = -1;  // of the part that ends here
  };
  // best[part][end]: parts 0 .. part take layers 0 .. end-1
  std::vector<std::vector<Best>> best(std::size_t(parts), std::vector<Best>(std::size_t(layers + 1)));
  const auto at = [&](std::int64_t part, std::int64_t end) -> Best& {
    return best[std::size_t(part)][std::size_t(end)];
  };
  for (std::int64_t part = 0; part < parts; ++part) {
    const double extra = part == parts - 1 ? behind : 0;
    for (std::int64_t end = part + 1; end <= layers; ++end) {
      for (std::int64_t begin = part; begin < end; ++begin) {
        if (part == 0 ? begin > 0 : at(part - 1, begin).begin < 0) continue;
        const double cost = before[std::size_t(end)] - before[std::size_t(begin)] + extra;
        const Quality quality = (part == 0 ? Quality{} : at(part - 1, begin).quality).with(cost);
        if (at(part, end).begin < 0 || quality < at(part, end).quality) at(part, end) = {quality, begin};
      }
    }
  }
  std::vector<Range> ranges(static_cast<std::size_t>(parts));
  for (std::int64_t part = parts, end = layers; part-- > 0;) {
    ranges[std::size_t(part)] = {at(part, end).begin, end};
    end = at(part, end).begin;
  }
  return ranges;
}

}  // namespace

Stages::Stages(std::int64_t pipeline, std::vector<Range> layers)
    : pipeline_(pipeline), layers_(std::move(layers)) {
  (void)divide_exactly(std::int64_t(layers_.size()), pipeline_);
}

bool Stages::holds(std::int64_t stage, const Site& site) const {
  const bool first = stage == 0, last = stage == pipeline_ - 1;
  switch (site.kind) {
    case Site::Kind::embedding: return first;
    case Site::Kind::head: return last;
    case Site::Kind::both_ends: return first || last;
    case Site::Kind::layer: break;
  }
  for (std::int64_t chunk = 0; chunk < chunks(); ++chunk) {
    if (layers(stage, chunk).contains(site.layer)) return true;
  }
  return false;
}

ChunkCost cost_of(const ModelConfig& config, const Stages& stages, std::int64_t stage, std::int64_t chunk) {
  ChunkCost cost{.layers = 0, .head = stages.is_last(stage, chunk) ? head_cost(config) : 0};
  const Range layers = stages.layers(stage, chunk);
  for (std::int64_t n = layers.begin; n < std::min(layers.end, config.layers); ++n)
    cost.layers += layer_cost(config, n);
  return cost;
}

Stages stages_of(const ModelConfig& config, std::int64_t pipeline, std::int64_t chunks) {
  if (pipeline * chunks > config.layers)
    throw std::logic_error("more pipeline stages than layers: a check of the mesh is missing");
  std::vector<double> costs;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) costs.push_back(layer_cost(config, layer));
  return {pipeline, cut(costs, pipeline * chunks, head_cost(config))};
}

}  // namespace moebius::models
