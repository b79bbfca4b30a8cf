#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace moebius::data {

/// Packs as one list of samples cut into pieces: pack p holds samples[starts[p] .. starts[p+1]).
struct Packs {
  std::vector<std::int64_t> starts{0};  // [packs + 1]
  std::vector<std::int64_t> samples;
  [[nodiscard]] std::int64_t count() const { return std::int64_t(starts.size()) - 1; }
  [[nodiscard]] std::span<const std::int64_t> pack(std::int64_t index) const;
};

/// Each sample a pack of its own.
[[nodiscard]] Packs unpacked(std::span<const std::int64_t> samples);

/// Whole samples into packs of at most `capacity` tokens, best fit: within a window of 1000 samples the
/// longest first, each into the fullest pack that it fits in, a new pack where there is none. The emptiest
/// pack of a window is not closed: its samples join the next window. lengths[i] is the length of samples[i];
/// one above capacity (a pair, whose sides are limited one by one) is a pack of its own. A pure function of
/// its arguments.
[[nodiscard]] Packs packed_best_fit(std::span<const std::int64_t> samples,
                                    std::span<const std::int64_t> lengths, std::int64_t capacity);

}  // namespace moebius::data
