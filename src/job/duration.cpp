#include "job/duration.h"

#include <array>
#include <charconv>
#include <cstdint>
#include <fmt/format.h>

namespace moebius::job {
namespace {

struct Unit {
  char letter;
  std::int64_t seconds;
};
constexpr std::array kUnits{Unit{'d', 86400}, Unit{'h', 3600}, Unit{'m', 60}, Unit{'s', 1}};
constexpr std::int64_t kMostSeconds = 1'000'000'000'000;  // sums stay exact

}  // namespace

std::optional<double> parse_duration(std::string_view text) {
  std::int64_t total = 0;
  for (const Unit unit : kUnits) {
    std::int64_t count = 0;
    const char* const end = text.data() + text.size();
    const auto [letter, error] = std::from_chars(text.data(), end, count);
    if (error != std::errc{} || letter == end || *letter != unit.letter) continue;
    if (count < 0 || count > kMostSeconds / unit.seconds) return {};
    total += count * unit.seconds;
    text.remove_prefix(std::size_t(letter + 1 - text.data()));
  }
  if (!text.empty() || total == 0 || total > kMostSeconds) return {};
  return double(total);
}

std::string duration_text(double seconds) {
  std::string text;
  auto rest = std::int64_t(seconds);
  for (const Unit unit : kUnits) {
    if (unit.letter == 'd') continue;  // hours say it as well: queues count in hours
    if (rest >= unit.seconds) text += fmt::format("{}{}", rest / unit.seconds, unit.letter);
    rest %= unit.seconds;
  }
  return text;
}

}  // namespace moebius::job
