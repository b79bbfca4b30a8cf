#pragma once
#include <concepts>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace moebius {

/// dividend / divisor, which must be exact; throws std::logic_error otherwise (a check of ours is missing).
constexpr std::int64_t divide_exactly(std::int64_t dividend, std::int64_t divisor) {
  if (divisor == 0 || dividend % divisor != 0) {
    throw std::logic_error(std::to_string(dividend) + " is not a multiple of " + std::to_string(divisor));
  }
  return dividend / divisor;
}

/// The smallest quotient that covers `value`: ceil(value / divisor), for value >= 0.
constexpr std::int64_t divide_up(std::int64_t value, std::int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

/// The smallest multiple of `multiple` that is not below `value` (>= 0).
constexpr std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return divide_up(value, multiple) * multiple;
}

/// A half-open interval of indices.
struct Range {
  std::int64_t begin = 0, end = 0;
  [[nodiscard]] constexpr std::int64_t size() const { return end - begin; }
  [[nodiscard]] constexpr bool contains(std::int64_t index) const { return begin <= index && index < end; }
  friend constexpr bool operator==(const Range&, const Range&) = default;
};

/// The part of [0, extent) that falls to `index` of `parts`: contiguous, in order, sizes differ by at most 1.
constexpr Range balanced_part(std::int64_t extent, std::int64_t parts, std::int64_t index) {
  return {extent * index / parts, extent * (index + 1) / parts};
}

/// `value` as a `To`, which must hold it; throws std::range_error otherwise.
template <std::integral To, std::integral From>
constexpr To narrow(From value) {
  const To result = static_cast<To>(value);
  if (static_cast<From>(result) != value || ((result < To{}) != (value < From{}))) {
    throw std::range_error("number out of range: " + std::to_string(value));
  }
  return result;
}

}  // namespace moebius
