#include "models/parameter_table.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace moebius::models {
namespace {

constexpr std::string_view kExpert = "{expert}";
constexpr std::int64_t kAlignment = 128;  // elements: 256 bytes of bf16, what device copies and TMA like best

bool is_split_over(const Parameter& parameter, Axis axis) {
  return std::ranges::any_of(parameter.splits, [&](const Split& split) { return split.axis == axis; });
}

bool is_expert(const Parameter& parameter) {
  return is_split_over(parameter, Axis::expert) || is_split_over(parameter, Axis::expert_tensor);
}

Slab nowhere(const Parameter& parameter) {
  return {std::vector<Range>(parameter.shape.size())};
}

/// Elements of the largest shard of any rank.
std::int64_t largest_shard(const Parameter& parameter, const Mesh& mesh) {
  Parameter shard;
  shard.shape = parameter.shape;
  for (const Split& split : parameter.splits) {
    std::int64_t& extent = shard.shape[std::size_t(split.dim)];
    extent = divide_up(extent, mesh.degree(split.axis));
  }
  return shard.size();
}

std::string with_expert(const std::string& pattern, std::int64_t expert) {
  const std::size_t place = pattern.find(kExpert);
  if (place == std::string::npos) return pattern;
  return pattern.substr(0, place) + std::to_string(expert) + pattern.substr(place + kExpert.size());
}

}  // namespace

std::int64_t Parameter::size() const {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  return count;
}

std::int64_t Slab::size() const {
  std::int64_t count = 1;
  for (const Range& range : ranges) count *= range.size();
  return count;
}

std::vector<HubTensor> hub_tensors(const Parameter& parameter) {
  const bool per_expert = parameter.hub.front().find(kExpert) != std::string::npos;
  const bool several = parameter.hub.size() > 1;
  const std::int64_t experts = per_expert ? parameter.shape.front() : 1;
  const auto leading = std::ptrdiff_t(per_expert) + std::ptrdiff_t(several);
  const std::vector<std::int64_t> rest(parameter.shape.begin() + leading, parameter.shape.end());

  std::vector<HubTensor> tensors;
  for (std::int64_t expert = 0; expert < experts; ++expert) {
    for (std::size_t part = 0; part < parameter.hub.size(); ++part) {
      HubTensor tensor{with_expert(parameter.hub[part], expert), {}, rest};
      if (per_expert) tensor.index.push_back(expert);
      if (several) tensor.index.push_back(std::int64_t(part));
      tensors.push_back(std::move(tensor));
    }
  }
  return tensors;
}

Slab local_slab(const Parameter& parameter, const Mesh& mesh) {
  Slab slab;
  for (const std::int64_t extent : parameter.shape) slab.ranges.push_back({0, extent});
  for (const Split& split : parameter.splits) {
    slab.ranges[std::size_t(split.dim)] = balanced_part(parameter.shape[std::size_t(split.dim)],
                                                        mesh.degree(split.axis), mesh.index(split.axis));
  }
  return slab;
}

std::vector<Axis> gradient_axes(const Parameter& parameter) {
  std::vector<Axis> axes{is_expert(parameter) ? Axis::expert_data : Axis::data_context};
  const Axis inner = is_expert(parameter) ? Axis::expert_tensor : Axis::tensor;
  if (!is_split_over(parameter, inner)) axes.push_back(inner);
  if (parameter.site.kind == Site::Kind::both_ends) axes.push_back(Axis::ends);
  return axes;
}

Axis sharing_axis(const Parameter& parameter) {
  return gradient_axes(parameter).front();
}

bool is_owner(const Parameter& parameter, const Mesh& mesh) {
  return std::ranges::all_of(gradient_axes(parameter), [&](Axis axis) { return mesh.index(axis) == 0; });
}

ShardLayout::ShardLayout(ParameterTable table, const Mesh& mesh, const Stages& stages)
    : table_(std::move(table)) {
  if (stages.pipeline() != mesh.degree(Axis::pipeline))
    throw std::logic_error("a layout over other pipeline stages than those of the mesh");
  const auto end_block = [&] {
    if (blocks_.empty()) return;
    auto& [axis, elements] = blocks_.back();
    const std::int64_t multiple = std::lcm(kAlignment, kGrain * mesh.degree(axis));
    size_ = elements.end = elements.begin + round_up(size_ - elements.begin, multiple);
  };
  struct Kind {
    Axis axis;
    bool at_both_ends;
    bool operator==(const Kind&) const = default;
  };
  std::optional<Kind> last;
  for (const Parameter& parameter : table_) {
    if (!index_by_name_.emplace(parameter.name, rows_.size()).second) {
      throw std::logic_error("two parameters are called " + parameter.name);
    }
    if (!stages.holds(mesh.index(Axis::pipeline), parameter.site)) {
      rows_.push_back({nowhere(parameter), size_, 0, false});
      continue;
    }
    const Kind kind{sharing_axis(parameter), parameter.site.kind == Site::Kind::both_ends};
    if (kind != last) {
      end_block();
      blocks_.push_back({kind.axis, {size_, size_}});
      last = kind;
    }
    Slab slab = local_slab(parameter, mesh);
    const std::int64_t size = slab.size();
    const std::int64_t offset =
        parameter.placement == Placement::behind_previous ? size_ : round_up(size_, kAlignment);
    rows_.push_back({std::move(slab), offset, size, is_owner(parameter, mesh)});
    size_ = offset + largest_shard(parameter, mesh);
  }
  end_block();
}

std::optional<std::size_t> ShardLayout::find(const std::string& name) const {
  const auto found = index_by_name_.find(name);
  if (found == index_by_name_.end()) return {};
  return found->second;
}

std::size_t ShardLayout::index_of(const std::string& name) const {
  const std::optional<std::size_t> index = find(name);
  if (!index) throw std::logic_error("no parameter is called " + name);
  return *index;
}

std::vector<Run> runs_of(const Parameter& parameter, const Slab& slab) {
  std::vector<Run> runs;
  if (slab.size() == 0) return runs;
  // Dims behind `inner` are whole, so a run spans them and the range of `inner` itself.
  std::size_t inner = slab.ranges.size() - 1;
  std::int64_t inner_stride = 1;
  while (inner > 0 && slab.ranges[inner].size() == parameter.shape[inner]) {
    inner_stride *= parameter.shape[inner];
    --inner;
  }
  const std::int64_t count = slab.ranges[inner].size() * inner_stride;
  for (std::int64_t local = 0; local < slab.size(); local += count) {
    std::int64_t remaining = local / count, stride = inner_stride;
    std::int64_t whole = slab.ranges[inner].begin * stride;
    for (std::size_t dim = inner; dim-- > 0;) {
      stride *= parameter.shape[dim + 1];
      whole += (slab.ranges[dim].begin + remaining % slab.ranges[dim].size()) * stride;
      remaining /= slab.ranges[dim].size();
    }
    runs.push_back({local, whole, count});
  }
  return runs;
}

}  // namespace moebius::models
