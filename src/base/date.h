#pragma once
#include <string>

namespace moebius {

/// The day here and now: "05 Nov 2026", in English whatever the locale.
[[nodiscard]] std::string date_of_today();

}  // namespace moebius
