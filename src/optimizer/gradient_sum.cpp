#include "optimizer/gradient_sum.h"

#include <algorithm>
#include <array>

namespace moebius::optimizer {
namespace {

using models::Axis;
using models::ShardLayout;

constexpr std::int64_t kLongest = std::int64_t{1} << 24;  // 64 MiB a message
constexpr std::int64_t kShort = std::int64_t{1} << 16;    // ranges up to 256 KiB are packed
constexpr std::array kAxes{Axis::data_context, Axis::tensor, Axis::expert_data, Axis::expert_tensor};

bool is_summed_over(const models::Parameter& parameter, Axis axis) {
  const auto axes = models::gradient_axes(parameter);
  return std::ranges::find(axes, axis) != axes.end();
}

/// The rows summed over `axis`, neighbours joined.
std::vector<Range> joined_rows(const ShardLayout& layout, Axis axis) {
  std::vector<Range> ranges;
  bool follows = false;  // the row before was summed too
  for (std::size_t index = 0; index < layout.count(); ++index) {
    const auto& row = layout.row(index);
    const bool summed = is_summed_over(layout.table()[index], axis);
    const bool joins = follows && summed;
    follows = summed;
    if (!summed) continue;
    if (joins) {
      ranges.back().end = row.offset + row.size;
    } else {
      ranges.push_back({row.offset, row.offset + row.size});
    }
  }
  return ranges;
}

bool is_short(const SummedRange& range) {
  return range.elements.size() <= kShort;
}

}  // namespace

std::vector<SummedRange> summed_ranges(const ShardLayout& layout, std::int64_t longest) {
  std::vector<SummedRange> ranges;
  for (const Axis axis : kAxes) {
    for (const Range& whole : joined_rows(layout, axis)) {
      for (std::int64_t begin = whole.begin; begin < whole.end; begin += longest)
        ranges.push_back({axis, {begin, std::min(begin + longest, whole.end)}});
    }
  }
  return ranges;
}

template <Space S>
GradientSum<S>::GradientSum(const ShardLayout& layout, parallel::Exchange<S>& exchange)
    : exchange_(&exchange), ranges_(summed_ranges(layout, kLongest)) {
  std::erase_if(ranges_, [&](const SummedRange& range) { return exchange.mesh().degree(range.axis) == 1; });
}

template <Space S>
void GradientSum<S>::operator()(const models::Shards<float, S>& gradients, Queue<S> queue) {
  const View<float, 1, S> flat = gradients.flat();
  for (std::size_t begin = 0; begin < ranges_.size();) {
    const SummedRange& range = ranges_[begin];
    std::size_t end = begin + 1;
    if (!is_short(range)) {
      exchange_->all_reduce({range.axis, "gradients"},
                            flat.slice(range.elements.begin, range.elements.size()), parallel::Reduction::sum,
                            queue);
    } else {
      while (end < ranges_.size() && is_short(ranges_[end]) && ranges_[end].axis == range.axis) ++end;
      sum_packed(begin, end, flat, queue);
    }
    begin = end;
  }
}

/// One message for ranges_[begin, end), which have the same axis.
template <Space S>
void GradientSum<S>::sum_packed(std::size_t begin, std::size_t end, View<float, 1, S> flat, Queue<S> queue) {
  static_assert(S == Space::host, "device memory is packed by a kernel, which is not built yet");
  packed_.clear();
  for (std::size_t index = begin; index < end; ++index) {
    const Range& elements = ranges_[index].elements;
    packed_.insert(packed_.end(), flat.data + elements.begin, flat.data + elements.end);
  }
  exchange_->all_reduce({ranges_[begin].axis, "gradients"},
                        View<float, 1, S>(packed_.data(), {std::int64_t(packed_.size())}),
                        parallel::Reduction::sum, queue);
  const float* next = packed_.data();
  for (std::size_t index = begin; index < end; ++index) {
    const Range& elements = ranges_[index].elements;
    std::copy_n(next, elements.size(), flat.data + elements.begin);
    next += elements.size();
  }
}

template class GradientSum<Space::host>;

}  // namespace moebius::optimizer
