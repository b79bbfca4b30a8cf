#include "job/job.h"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <string_view>
#include <tuple>

namespace moebius::job {
namespace {

/// Takes ":14" off the end of a place; 0 where there is no number.
std::int64_t take_number(std::string_view& place) {
  const std::size_t colon = place.rfind(':');
  if (colon == std::string_view::npos) return 0;
  std::int64_t number = 0;
  const char* const end = place.data() + place.size();
  const auto [rest, error] = std::from_chars(place.data() + colon + 1, end, number);
  if (error != std::errc{} || rest != end) return 0;
  place = place.substr(0, colon);
  return number;
}

std::tuple<bool, std::int64_t, std::int64_t> order_of(const Problem& problem) {
  std::string_view place = problem.place;
  if (place.starts_with("--set ")) return {true, 0, 0};
  const std::int64_t column = take_number(place);
  const std::int64_t line = take_number(place);
  return {false, line, column};
}

}  // namespace

std::string Job::place_of(const std::string& key) const {
  const auto given = places.find(key);
  return given == places.end() ? file : given->second;
}

std::string problems_text(std::span<const Problem> problems) {
  std::string lines;
  for (const Problem& problem : problems) lines += fmt::format("{}  {}\n", problem.place, problem.text);
  const char* plural = problems.size() == 1 ? "" : "s";
  return lines + fmt::format("{} problem{}, nothing was started", problems.size(), plural);
}

void sort_by_place(std::span<Problem> problems) {
  std::ranges::stable_sort(problems, {}, order_of);
}

}  // namespace moebius::job
