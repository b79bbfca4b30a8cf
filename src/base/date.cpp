#include "base/date.h"

#include <array>
#include <ctime>
#include <fmt/format.h>
#include <string_view>

namespace moebius {

std::string date_of_today() {
  const std::time_t now = std::time(nullptr);
  std::tm day{};
  localtime_r(&now, &day);
  constexpr std::array<std::string_view, 12> months{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                    "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  return fmt::format("{:02} {} {}", day.tm_mday, months[std::size_t(day.tm_mon)], day.tm_year + 1900);
}

}  // namespace moebius
