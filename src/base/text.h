#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moebius {

/// "1, 2, 3" of {"1", "2", "3"}.
[[nodiscard]] std::string join(std::span<const std::string> parts, std::string_view separator = ", ");

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
[[nodiscard]] int edit_distance(std::string_view a, std::string_view b);

/// The candidate nearest to `word` by edit distance, or "" where none is near enough to be meant
/// (more than a third of the word's letters, at least 1, away).
[[nodiscard]] std::string nearest_spelling(std::string_view word, std::span<const std::string> candidates);

/// "1, 2, 4, 8, ...": the divisors of n (> 0) from the smallest, at most `most` of them: what a setting may
/// say.
[[nodiscard]] std::string divisors_text(std::int64_t n, int most = 8);

/// "1.5 GiB", "12 KiB", "7 B": binary units, at most one decimal.
[[nodiscard]] std::string bytes_text(std::int64_t bytes);

/// The bytes of "5GB" (10^9), "80GiB" (2^30), "1.5 MB", "4096": a number and maybe B, KB, MB, GB, TB, KiB,
/// MiB, GiB or TiB. Nothing for other text, for less than a byte and for what does not fit an int64.
[[nodiscard]] std::optional<std::int64_t> parse_bytes(std::string_view text);

/// A 64-bit number that stands for the text (FNV-1a): the same in every build, for names of files. Of a text
/// in pieces: each goes on from that of the ones before.
inline constexpr std::uint64_t kNoText = 0xcbf29ce484222325u;
[[nodiscard]] std::uint64_t fingerprint(std::string_view text, std::uint64_t before = kNoText);

/// "1h02m", "3m07s", "4.2s": for people, not for machines.
[[nodiscard]] std::string seconds_text(double seconds);

}  // namespace moebius
