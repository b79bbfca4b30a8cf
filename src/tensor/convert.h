#pragma once
#include <cstdint>

#include "tensor/dtype.h"

namespace moebius {

constexpr bool is_floating(Dtype dtype) {
  return dtype != Dtype::int32 && dtype != Dtype::int64;
}

/// out[i] = in[i] in another type, rounded to the nearest value, ties to even (float64 to bfloat16 or float16
/// goes through float32). Equal types are copied bit for bit. Throws std::logic_error where one of two
/// different types is an integer. The ranges must not overlap.
void convert(Dtype from, const void* in, Dtype to, void* out, std::int64_t count);

/// IEEE binary16 by its bits.
[[nodiscard]] float float16_to_float(std::uint16_t bits);
[[nodiscard]] std::uint16_t float_to_float16(float value);

}  // namespace moebius
