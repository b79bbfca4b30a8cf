#include "checkpoint/slabs.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.h"

namespace moebius::checkpoint {

Slab whole_slab(const std::vector<std::int64_t>& shape) {
  Slab slab;
  for (const std::int64_t extent : shape) slab.ranges.push_back({0, extent});
  return slab;
}

std::vector<Slab> pieces_of(const Slab& slab, std::int64_t longest) {
  if (slab.size() == 0) return {};
  if (slab.size() <= longest) return {slab};
  // Dims behind `cut` stay whole; `inner` is their size.
  std::size_t cut = slab.ranges.size() - 1;
  std::int64_t inner = 1;
  while (cut > 0 && inner * slab.ranges[cut].size() <= longest) {
    inner *= slab.ranges[cut].size();
    --cut;
  }
  const std::int64_t thickness = longest / inner;

  std::vector<Slab> pieces;
  Slab piece = slab;
  for (std::size_t dim = 0; dim < cut; ++dim) piece.ranges[dim].end = piece.ranges[dim].begin + 1;
  const Range& full = slab.ranges[cut];
  while (true) {
    for (std::int64_t begin = full.begin; begin < full.end; begin += thickness) {
      piece.ranges[cut] = {begin, std::min(begin + thickness, full.end)};
      pieces.push_back(piece);
    }
    std::size_t dim = cut;  // the dims before `cut` count like an odometer
    while (dim > 0 && piece.ranges[dim - 1].end == slab.ranges[dim - 1].end) {
      --dim;
      piece.ranges[dim] = {slab.ranges[dim].begin, slab.ranges[dim].begin + 1};
    }
    if (dim == 0) return pieces;
    ++piece.ranges[dim - 1].begin, ++piece.ranges[dim - 1].end;
  }
}

std::vector<Slab> slabs_of(const Slab& slab, Range range) {
  if (range.size() == 0) return {};
  if (range.size() == slab.size()) return {slab};
  // Elements of one index of the first dim that has more than one.
  std::size_t dim = 0;
  while (slab.ranges[dim].size() == 1) ++dim;
  const std::int64_t inner = slab.size() / slab.ranges[dim].size();
  const auto at = [&](Range indices) {
    Slab part = slab;
    part.ranges[dim] = {slab.ranges[dim].begin + indices.begin, slab.ranges[dim].begin + indices.end};
    return part;
  };
  std::vector<Slab> found;
  const auto add = [&](Range elements) {  // of one index
    const std::int64_t index = elements.begin / inner, origin = index * inner;
    for (Slab& part : slabs_of(at({index, index + 1}), {elements.begin - origin, elements.end - origin}))
      found.push_back(std::move(part));
  };
  const Range whole{divide_up(range.begin, inner), range.end / inner};
  if (whole.begin > whole.end) {  // inside of one index
    add(range);
    return found;
  }
  if (range.begin < whole.begin * inner) add({range.begin, whole.begin * inner});
  if (whole.size() > 0) found.push_back(at(whole));
  if (whole.end * inner < range.end) add({whole.end * inner, range.end});
  return found;
}

SlabLists lists_of(std::span<const Slab> slabs) {
  SlabLists lists;
  lists.reserve(slabs.size());
  for (const Slab& slab : slabs) lists.push_back({slab});
  return lists;
}

std::optional<Slab> intersection(const Slab& a, const Slab& b) {
  Slab common;
  for (std::size_t dim = 0; dim < a.ranges.size(); ++dim) {
    const Range range{std::max(a.ranges[dim].begin, b.ranges[dim].begin),
                      std::min(a.ranges[dim].end, b.ranges[dim].end)};
    if (range.begin >= range.end) return std::nullopt;
    common.ranges.push_back(range);
  }
  return common;
}

std::vector<Run> runs_inside(const Slab& outer, const Slab& inner) {
  if (outer.ranges.empty()) return {{0, 0, 1}};
  models::Parameter frame;
  Slab place;
  for (std::size_t dim = 0; dim < outer.ranges.size(); ++dim) {
    const std::int64_t origin = outer.ranges[dim].begin;
    frame.shape.push_back(outer.ranges[dim].size());
    place.ranges.push_back({inner.ranges[dim].begin - origin, inner.ranges[dim].end - origin});
  }
  return models::runs_of(frame, place);
}

std::string text_of(const Slab& slab) {
  std::vector<std::string> parts;
  for (const Range& range : slab.ranges) parts.push_back(fmt::format("{}:{}", range.begin, range.end));
  return fmt::format("[{}]", join(parts));
}

std::vector<Slab> even_slabs(const models::ParameterTable& table, std::int64_t ranks, std::int64_t rank) {
  std::vector<Slab> slabs;
  for (const models::Parameter& parameter : table) {
    slabs.push_back(whole_slab(parameter.shape));
    slabs.back().ranges.front() = balanced_part(parameter.shape.front(), ranks, rank);
  }
  return slabs;
}

}  // namespace moebius::checkpoint
