#include "optimizer/gradient_sum.h"

#include <algorithm>
#include <array>

#include "kernels/update/elementwise.h"

namespace moebius::optimizer {
namespace {

using models::Axis;
using models::Ownership;
using models::ShardLayout;

constexpr std::int64_t kLongest = std::int64_t{1} << 24;  // 64 MiB a message
constexpr std::int64_t kShort = std::int64_t{1} << 16;    // ranges up to 256 KiB are packed
constexpr std::array kAxes{Axis::tensor, Axis::expert_tensor, Axis::ends};

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
    if (row.size == 0) continue;  // of another pipeline stage
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

bool touches(const Range& elements, const ShardLayout::Row& row) {
  return row.size > 0 && row.offset < elements.end && elements.begin < row.offset + row.size;
}

bool is_short(const SummedRange& range) {
  return range.elements.size() <= kShort;
}

/// One past the last of the ranges that travel in one message with ranges[begin].
std::size_t end_of_message(const std::vector<SummedRange>& ranges, std::size_t begin) {
  std::size_t end = begin + 1;
  if (!is_short(ranges[begin])) return end;
  while (end < ranges.size() && is_short(ranges[end]) && ranges[end].axis == ranges[begin].axis) ++end;
  return end;
}

}  // namespace

std::vector<SummedRange> summed_ranges(const Ownership& ownership, std::int64_t longest) {
  std::vector<SummedRange> ranges;
  for (const Axis axis : kAxes) {
    for (const Range& whole : joined_rows(ownership.layout(), axis)) {
      for (const auto& [owned, place] : ownership.owned(whole)) {
        for (std::int64_t begin = owned.begin; begin < owned.end; begin += longest)
          ranges.push_back({axis, {begin, std::min(begin + longest, owned.end)}});
      }
    }
  }
  return ranges;
}

std::vector<SumMessage> sum_messages(const Ownership& ownership) {
  const std::vector<SummedRange> ranges = summed_ranges(ownership, kLongest);
  std::vector<SumMessage> messages;
  for (std::size_t begin = 0; begin < ranges.size();) {
    messages.push_back({ranges[begin].axis, 0});
    for (const std::size_t end = end_of_message(ranges, begin); begin < end; ++begin)
      messages.back().elements += ranges[begin].elements.size();
  }
  return messages;
}

template <class G, Space S>
GradientSum<G, S>::GradientSum(const Ownership& ownership, parallel::Exchange<S>& exchange, Arena<S>& arena)
    : exchange_(&exchange), ownership_(&ownership), ranges_(summed_ranges(ownership, kLongest)) {
  const ShardLayout& layout = ownership.layout();
  for (const Ownership::Bucket& bucket : ownership.buckets()) {
    if (exchange.mesh().degree(bucket.axis) == 1) continue;
    Bucket& added = buckets_.emplace_back(Bucket{.bucket = bucket});
    for (std::size_t index = 0; index < layout.count(); ++index)
      added.parameters += touches(bucket.elements, layout.row(index)) ? 1 : 0;
    added.missing = added.parameters;
  }
  std::erase_if(ranges_, [&](const SummedRange& range) { return exchange.mesh().degree(range.axis) == 1; });
  std::int64_t most = 0;
  for (std::size_t begin = 0; begin < ranges_.size();) {
    std::int64_t sum = 0;
    const std::size_t end = end_of_message(ranges_, begin);
    for (std::size_t i = begin; i < end; ++i) sum += ranges_[i].elements.size();
    if (end - begin > 1) most = std::max(most, sum);
    begin = end;
  }
  if (most > 0) packed_ = arena.template make<G>(most);
}

template <class G, Space S>
void GradientSum<G, S>::start(std::string_view names, const models::Shards<G, S>& gradients, Queue<S> queue) {
  const ShardLayout& layout = ownership_->layout();
  for (std::size_t index = 0; index < layout.count(); ++index) {
    const auto& row = layout.row(index);
    if (row.size == 0 || !layout.table()[index].name.starts_with(names)) continue;
    auto bucket = std::ranges::upper_bound(buckets_, row.offset, {},
                                           [](const Bucket& one) { return one.bucket.elements.end; });
    for (; bucket != buckets_.end() && touches(bucket->bucket.elements, row); ++bucket) {
      if (--bucket->missing == 0) start(*bucket, gradients.flat(), queue);
    }
  }
}

template <class G, Space S>
void GradientSum<G, S>::start(Bucket& bucket, View<G, 1, S> flat, Queue<S> queue) {
  bucket.has_started = true;
  if (S == Space::host && std::int64_t(under_way_.size()) == Ownership::kHostSums) {
    under_way_.front().wait(queue);
    under_way_.pop_front();
  }
  const auto& [axis, elements, own, place] = bucket.bucket;
  under_way_.push_back(exchange_->template start_reduce_scatter<G>(
      {axis, "gradients"}, flat.slice(elements.begin, elements.size()), flat.slice(own.begin, own.size()),
      queue));
}

template <class G, Space S>
void GradientSum<G, S>::finish(const models::Shards<G, S>& gradients, Queue<S> queue) {
  const View<G, 1, S> flat = gradients.flat();
  for (auto bucket = buckets_.rbegin(); bucket != buckets_.rend(); ++bucket) {
    if (!bucket->has_started) start(*bucket, flat, queue);
    bucket->has_started = false;
    bucket->missing = bucket->parameters;
  }
  for (parallel::Pending<S>& sum : under_way_) sum.wait(queue);
  under_way_.clear();
  for (std::size_t begin = 0; begin < ranges_.size();) {
    const SummedRange& range = ranges_[begin];
    const std::size_t end = end_of_message(ranges_, begin);
    if (end - begin > 1) {
      sum_packed(begin, end, flat, queue);
    } else {
      exchange_->template all_reduce<G>({range.axis, "gradients"},
                                        flat.slice(range.elements.begin, range.elements.size()),
                                        parallel::Reduction::sum, queue);
    }
    begin = end;
  }
}

/// One message for ranges_[begin, end), which have the same axis.
template <class G, Space S>
void GradientSum<G, S>::sum_packed(std::size_t begin, std::size_t end, View<G, 1, S> flat, Queue<S> queue) {
  std::int64_t count = 0;
  for (std::size_t index = begin; index < end; ++index) {
    const Range& elements = ranges_[index].elements;
    kernels::copy<G>(flat.slice(elements.begin, elements.size()), packed_.slice(count, elements.size()),
                     queue);
    count += elements.size();
  }
  exchange_->template all_reduce<G>({ranges_[begin].axis, "gradients"}, packed_.slice(0, count),
                                    parallel::Reduction::sum, queue);
  count = 0;
  for (std::size_t index = begin; index < end; ++index) {
    const Range& elements = ranges_[index].elements;
    kernels::copy<G>(packed_.slice(count, elements.size()), flat.slice(elements.begin, elements.size()),
                     queue);
    count += elements.size();
  }
}

template class GradientSum<float, Space::host>;
#if MOEBIUS_CUDA
template class GradientSum<float, Space::device>;
template class GradientSum<bf16, Space::device>;
#endif

}  // namespace moebius::optimizer
