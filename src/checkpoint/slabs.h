#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/parameter_table.h"

namespace moebius::checkpoint {

using models::Run;
using models::Slab;

/// The slab that is a whole tensor.
[[nodiscard]] Slab whole_slab(const std::vector<std::int64_t>& shape);

/// Cuts a slab into slabs of at most `longest` elements (>= 1), in row-major order. Each is as thick as
/// possible: it spans whole trailing dims, a range of one dim, and one index of the dims before. A slab
/// without elements has no pieces.
[[nodiscard]] std::vector<Slab> pieces_of(const Slab& slab, std::int64_t longest);

/// Elements [range.begin, range.end) of a slab, packed and row-major, as the fewest slabs, in that order: up
/// to twice the dims less one.
[[nodiscard]] std::vector<Slab> slabs_of(const Slab& slab, Range range);

/// Slabs of each parameter of a table.
using SlabLists = std::vector<std::vector<Slab>>;
/// One slab of each.
[[nodiscard]] SlabLists lists_of(std::span<const Slab> slabs);

/// What two slabs of the same tensor share; nothing where they do not touch.
[[nodiscard]] std::optional<Slab> intersection(const Slab& a, const Slab& b);

/// Where the elements of `inner` lie inside `outer`, which contains it; both packed and row-major:
/// local counts in `inner`, whole in `outer`.
[[nodiscard]] std::vector<Run> runs_inside(const Slab& outer, const Slab& inner);

/// "[0:8, 0:2, 64:128]"
[[nodiscard]] std::string text_of(const Slab& slab);

/// A share of every parameter for each of `ranks` ranks without regard to any mesh: dim 0 cut evenly. For
/// reading a whole model with little memory, as import and export do.
[[nodiscard]] std::vector<Slab> even_slabs(const models::ParameterTable& table, std::int64_t ranks,
                                           std::int64_t rank);

}  // namespace moebius::checkpoint
