#include "models/batch.h"

#include <algorithm>

namespace moebius::models {
namespace {

template <class T>
View<const T, 1, Space::host> view_of(const std::vector<T>& values) {
  return {values.data(), {std::int64_t(values.size())}};
}

}  // namespace

HostBatch::HostBatch(const PackedTokens& packed, const TokenShare& share) {
  const auto all_tokens = std::int64_t(packed.ids.size());
  const ContextChunks chunks(packed.starts, share.context);
  starts_.push_back(0);
  for (std::int64_t sample = 0; sample < chunks.samples(); ++sample) {
    const Chunk own = chunks.of(sample, share.rank);
    const std::int32_t begin = packed.starts[std::size_t(sample)];
    for (const Range& piece : {own.low, own.high}) {
      for (std::int64_t t = begin + piece.begin; t < begin + piece.end; ++t) take(packed, std::size_t(t));
    }
    // Device twins want no empty segments.
    if (own.size() > 0) starts_.push_back(std::int32_t(ids_.size()));
    longest_here_ = std::max(longest_here_, own.size());
    longest_ = std::max<std::int64_t>(longest_, packed.starts[std::size_t(sample) + 1] - begin);
  }
  real_tokens_ = {.here = std::int64_t(ids_.size()), .of_micro_batch = all_tokens};
  const std::int64_t most = ContextChunks::most_tokens(all_tokens, share.context);
  const std::int64_t tokens = std::max(round_up(most, share.multiple), share.multiple);
  ids_.resize(std::size_t(tokens), 0);
  positions_.resize(std::size_t(tokens), 0);
  places_.resize(std::size_t(tokens), 0);
  target_of_token_.resize(std::size_t(tokens), -1);
  for (std::int64_t step = 1; step < share.context; ++step)
    remote_.push_back(remote_of(chunks, share.rank, (share.rank - step + share.context) % share.context));
}

/// Token t of the pack becomes the next one here.
void HostBatch::take(const PackedTokens& packed, std::size_t t) {
  const std::int32_t target = packed.targets[t];
  target_of_token_.push_back(target < 0 ? -1 : std::int32_t(target_rows_.size()));
  if (target >= 0) {
    target_rows_.push_back(std::int32_t(ids_.size()));
    target_ids_.push_back(target);
    target_tokens_.push_back(std::int32_t(t));
  }
  ids_.push_back(packed.ids[t]);
  positions_.push_back(packed.positions[t]);
  places_.push_back(std::int32_t(t));
}

/// Which tokens here attend to which tokens of rank `other`, all of them to all of those.
HostBatch::Remote HostBatch::remote_of(const ContextChunks& chunks, std::int64_t rank, std::int64_t other) {
  Remote remote;
  std::int64_t query = 0, key = 0;  // first rows of the sample
  for (std::int64_t sample = 0; sample < chunks.samples(); ++sample) {
    const Chunk own = chunks.of(sample, rank), theirs = chunks.of(sample, other);
    const bool behind_low = other < rank;  // otherwise the high piece alone, behind both of theirs
    const std::int64_t queries = behind_low ? own.size() : own.high.size();
    const std::int64_t keys = behind_low ? theirs.low.size() : theirs.size();
    if (queries > 0 && keys > 0) {
      remote.query_starts.push_back(std::int32_t(query + own.size() - queries));
      remote.query_counts.push_back(std::int32_t(queries));
      remote.key_starts.push_back(std::int32_t(key));
      remote.key_counts.push_back(std::int32_t(keys));
      remote.longest = std::max(remote.longest, queries);
      remote.longest_keys = std::max(remote.longest_keys, keys);
    }
    query += own.size();
    key += theirs.size();
  }
  remote.query_starts.push_back(std::int32_t(query));
  remote.key_starts.push_back(std::int32_t(key));
  return remote;
}

template <Space S, class Place>
TokenBatch<S> HostBatch::made(const Place& place) const {
  const View<const std::int32_t, 1, S> starts = place(starts_);
  TokenBatch<S> batch{.ids = place(ids_),
                      .places = {.positions = place(positions_),
                                 .segments = {.query_starts = starts,
                                              .key_starts = starts,
                                              .longest = longest_here_,
                                              .padding = std::int64_t(ids_.size()) - real_tokens_.here}},
                      .targets = {.rows = place(target_rows_),
                                  .ids = place(target_ids_),
                                  .entry_of = place(target_of_token_)},
                      .real_tokens = real_tokens_,
                      .longest = longest_};
  batch.places.remote.reserve(remote_.size());
  for (const Remote& remote : remote_) {
    batch.places.remote.push_back({.query_starts = place(remote.query_starts),
                                   .key_starts = place(remote.key_starts),
                                   .key_counts = place(remote.key_counts),
                                   .query_counts = place(remote.query_counts),
                                   .mask = kernels::Mask::nothing,
                                   .longest = remote.longest,
                                   .longest_keys = remote.longest_keys});
  }
  return batch;
}

TokenBatch<Space::host> HostBatch::view() const {
  return made<Space::host>([](const std::vector<std::int32_t>& values) { return view_of(values); });
}

template <Space S>
TokenBatch<S> HostBatch::placed(Arena<S>& arena, Staging<S>& staging, Queue<S> queue) const {
  return made<S>([&](const std::vector<std::int32_t>& values) {
    return View<const std::int32_t, 1, S>(moebius::placed<std::int32_t>(values, arena, staging, queue));
  });
}

std::vector<std::int32_t> HostBatch::numbers(std::int64_t micro_batch) const {
  std::vector<std::int32_t> numbers;
  numbers.reserve(2 * places_.size());
  for (const std::int32_t place : places_) {
    numbers.push_back(std::int32_t(micro_batch));
    numbers.push_back(place);
  }
  return numbers;
}

std::vector<float> HostBatch::of_targets(std::span<const float> of_tokens) const {
  std::vector<float> values;
  values.reserve(target_rows_.size());
  for (const std::int32_t token : target_tokens_) values.push_back(of_tokens[std::size_t(token)]);
  return values;
}

#define INSTANTIATE(S) template TokenBatch<S> HostBatch::placed(Arena<S>&, Staging<S>&, Queue<S>) const;
MOEBIUS_EACH_SPACE(INSTANTIATE)

}  // namespace moebius::models
