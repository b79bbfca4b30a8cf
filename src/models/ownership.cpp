#include "models/ownership.h"

#include <algorithm>
#include <numeric>

namespace moebius::models {
namespace {

/// Whether this is the first of the ranks that hold the parameter's shard whole on axes other than the one
/// that shares it out.
bool is_first_holder(const Parameter& parameter, const Mesh& mesh) {
  const Axis sharing = sharing_axis(parameter);
  return std::ranges::all_of(gradient_axes(parameter),
                             [&](Axis axis) { return axis == sharing || mesh.index(axis) == 0; });
}

Range part_of(Range whole, std::int64_t parts, std::int64_t index) {
  const std::int64_t size = divide_exactly(whole.size(), parts);
  return {whole.begin + index * size, whole.begin + (index + 1) * size};
}

}  // namespace

Ownership::Ownership(const ShardLayout& layout, const Mesh& mesh, const Limits& limits) : layout_(&layout) {
  for (const auto& [axis, block] : layout.blocks()) {
    const std::int64_t degree = mesh.degree(axis), grain = ShardLayout::kGrain * degree;
    // A rank that is alone owns the block as it is.
    const std::int64_t longest =
        degree == 1 ? block.size() : round_up(std::max(limits.bucket, limits.least_part * degree), grain);
    for (std::int64_t begin = block.begin; begin < block.end; begin += longest) {
      const Range elements{begin, std::min(begin + longest, block.end)};
      const Range own = part_of(elements, degree, mesh.index(axis));
      buckets_.push_back({axis, elements, own, size_});
      append(own, size_);
      size_ += own.size();
    }
  }
  for (const Parameter& parameter : layout.table()) stands_for_.push_back(is_first_holder(parameter, mesh));
}

void Ownership::append(Range elements, std::int64_t place) {
  if (!owned_.empty() && owned_.back().elements.end == elements.begin) {
    owned_.back().elements.end = elements.end;  // its place follows too: the owned buffer has no gaps
  } else {
    owned_.push_back({elements, place});
  }
}

std::int64_t Ownership::largest_arrival() const {
  std::int64_t most = 0;
  for (const Bucket& bucket : buckets_) most = std::max(most, bucket.elements.size() - bucket.own.size());
  return most;
}

std::vector<Ownership::Piece> Ownership::pieces(Range range) const {
  std::vector<Piece> found;
  auto next = std::ranges::upper_bound(owned_, range.begin, {},
                                       [](const Piece& piece) { return piece.elements.end; });
  while (range.begin < range.end) {
    const bool is_last = next == owned_.end() || next->elements.begin >= range.end;
    const std::int64_t others_end = is_last ? range.end : next->elements.begin;
    if (range.begin < others_end) found.push_back({{range.begin, others_end}, std::nullopt});
    if (is_last) break;
    const Range own{std::max(range.begin, next->elements.begin), std::min(range.end, next->elements.end)};
    found.push_back({own, *next->place + own.begin - next->elements.begin});
    range.begin = own.end;
    ++next;
  }
  return found;
}

std::vector<Ownership::Piece> Ownership::owned(Range range) const {
  std::vector<Piece> found = pieces(range);
  std::erase_if(found, [](const Piece& piece) { return !piece.place; });
  return found;
}

}  // namespace moebius::models
