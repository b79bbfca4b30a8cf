#include "base/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <utility>

namespace moebius {
namespace {

constexpr std::array kBinaryUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
constexpr std::array<std::pair<std::string_view, double>, 10> kByteUnits{{{"", 1},
                                                                          {"B", 1},
                                                                          {"KB", 1e3},
                                                                          {"MB", 1e6},
                                                                          {"GB", 1e9},
                                                                          {"TB", 1e12},
                                                                          {"KiB", 0x1p10},
                                                                          {"MiB", 0x1p20},
                                                                          {"GiB", 0x1p30},
                                                                          {"TiB", 0x1p40}}};

}  // namespace

std::string join(std::span<const std::string> parts, std::string_view separator) {
  return fmt::format("{}", fmt::join(parts.begin(), parts.end(), separator));
}

int edit_distance(std::string_view a, std::string_view b) {
  const std::size_t columns = b.size() + 1;
  std::vector<int> table((a.size() + 1) * columns);
  const auto at = [&](std::size_t i, std::size_t j) -> int& { return table[i * columns + j]; };
  for (std::size_t i = 0; i <= a.size(); ++i) at(i, 0) = int(i);
  for (std::size_t j = 0; j <= b.size(); ++j) at(0, j) = int(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const int substituted = at(i - 1, j - 1) + (a[i - 1] == b[j - 1] ? 0 : 1);
      at(i, j) = std::min({at(i - 1, j) + 1, at(i, j - 1) + 1, substituted});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) at(i, j) = std::min(at(i, j), at(i - 2, j - 2) + 1);
    }
  }
  return at(a.size(), b.size());
}

std::string nearest_spelling(std::string_view word, std::span<const std::string> candidates) {
  std::string best;
  int best_distance = std::max(1, int(word.size()) / 3) + 1;
  for (const std::string& candidate : candidates) {
    const int distance = edit_distance(word, candidate);
    if (distance < best_distance) best = candidate, best_distance = distance;
  }
  return best;
}

std::string divisors_text(std::int64_t n, int most) {
  std::vector<std::string> divisors;
  for (std::int64_t divisor = 1; divisor <= n; ++divisor) {
    if (n % divisor != 0) continue;
    if (std::ssize(divisors) == most) return join(divisors) + ", ...";
    divisors.push_back(fmt::format("{}", divisor));
  }
  return join(divisors);
}

std::string bytes_text(std::int64_t bytes) {
  double value = double(bytes);
  std::size_t unit = 0;
  while (std::abs(value) >= 1024 && unit + 1 < kBinaryUnits.size()) value /= 1024, ++unit;
  const bool whole = unit == 0 || std::abs(value - std::round(value)) < 0.05;
  return whole ? fmt::format("{:.0f} {}", value, kBinaryUnits[unit])
               : fmt::format("{:.1f} {}", value, kBinaryUnits[unit]);
}

std::optional<std::int64_t> parse_bytes(std::string_view text) {
  double number = 0;
  const auto [rest, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc()) return std::nullopt;
  std::string_view unit(rest, std::size_t(text.data() + text.size() - rest));
  if (unit.starts_with(' ')) unit.remove_prefix(1);
  for (const auto& [name, factor] : kByteUnits) {
    if (name != unit) continue;
    const double bytes = std::floor(number * factor);
    if (!(bytes >= 1 && bytes < 0x1p63)) return std::nullopt;
    return std::int64_t(bytes);
  }
  return std::nullopt;
}

std::uint64_t fingerprint(std::string_view text, std::uint64_t before) {
  std::uint64_t hash = before;
  for (const char letter : text) hash = (hash ^ std::uint8_t(letter)) * 0x100000001b3u;
  return hash;
}

std::string seconds_text(double seconds) {
  if (seconds < 60) return fmt::format("{:.1f}s", seconds);
  const auto whole = std::int64_t(std::llround(seconds));
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  return fmt::format("{}h{:02}m", whole / 3600, whole % 3600 / 60);
}

}  // namespace moebius
