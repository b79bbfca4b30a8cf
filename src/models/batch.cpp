#include "models/batch.h"

#include <algorithm>

namespace moebius::models {
namespace {

template <class T>
View<const T, 1, Space::host> view_of(const std::vector<T>& values) {
  return {values.data(), {std::int64_t(values.size())}};
}

}  // namespace

HostBatch::HostBatch(const PackedTokens& packed, std::int64_t multiple)
    : ids_(packed.ids.begin(), packed.ids.end()),
      positions_(packed.positions.begin(), packed.positions.end()),
      starts_(packed.starts.begin(), packed.starts.end()),
      real_tokens_(std::int64_t(packed.ids.size())) {
  const std::int64_t tokens = std::max(round_up(real_tokens_, multiple), multiple);
  ids_.resize(std::size_t(tokens), 0);
  positions_.resize(std::size_t(tokens), 0);
  target_of_token_.assign(std::size_t(tokens), -1);
  for (std::int32_t t = 0; t < std::int32_t(real_tokens_); ++t) {
    const std::int32_t target = packed.targets[std::size_t(t)];
    if (target < 0) continue;
    target_of_token_[std::size_t(t)] = std::int32_t(target_rows_.size());
    target_rows_.push_back(t);
    target_ids_.push_back(target);
  }
  if (starts_.empty()) starts_.push_back(0);
  for (std::size_t i = 1; i < starts_.size(); ++i) {
    longest_ = std::max<std::int64_t>(longest_, starts_[i] - starts_[i - 1]);
  }
}

TokenBatch<Space::host> HostBatch::view() const {
  return {.ids = view_of(ids_),
          .places = {.positions = view_of(positions_),
                     .segments = {.query_starts = view_of(starts_),
                                  .key_starts = view_of(starts_),
                                  .longest = longest_,
                                  .padding = std::int64_t(ids_.size()) - real_tokens_}},
          .targets = {.rows = view_of(target_rows_),
                      .ids = view_of(target_ids_),
                      .entry_of = view_of(target_of_token_)},
          .real_tokens = real_tokens_,
          .longest = longest_};
}

template <Space S>
TokenBatch<S> HostBatch::placed(Arena<S>& arena, Staging<S>& staging, Queue<S> queue) const {
  const auto place = [&](const std::vector<std::int32_t>& values) {
    return moebius::placed<std::int32_t>(values, arena, staging, queue);
  };
  const View<std::int32_t, 1, S> starts = place(starts_);
  return {.ids = place(ids_),
          .places = {.positions = place(positions_),
                     .segments = {.query_starts = starts,
                                  .key_starts = starts,
                                  .longest = longest_,
                                  .padding = std::int64_t(ids_.size()) - real_tokens_}},
          .targets = {.rows = place(target_rows_),
                      .ids = place(target_ids_),
                      .entry_of = place(target_of_token_)},
          .real_tokens = real_tokens_,
          .longest = longest_};
}

std::vector<float> HostBatch::of_targets(std::span<const float> of_tokens) const {
  std::vector<float> values;
  values.reserve(target_rows_.size());
  for (const std::int32_t row : target_rows_) values.push_back(of_tokens[std::size_t(row)]);
  return values;
}

#define INSTANTIATE(S) template TokenBatch<S> HostBatch::placed(Arena<S>&, Staging<S>&, Queue<S>) const;
MOEBIUS_EACH_SPACE(INSTANTIATE)

}  // namespace moebius::models
