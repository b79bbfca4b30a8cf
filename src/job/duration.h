#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace moebius::job {

/// Seconds of "11h30m", "90m", "45s", "1d2h": whole numbers of d, h, m and s, each at most once, in this
/// order, together above zero. Nothing for any other text.
[[nodiscard]] std::optional<double> parse_duration(std::string_view text);

/// The shortest text that parse_duration reads back: "26h" for 93600 (whole seconds, above zero).
[[nodiscard]] std::string duration_text(double seconds);

}  // namespace moebius::job
