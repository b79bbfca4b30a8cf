#include "tensor/convert.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

#include "base/bf16.h"

namespace moebius {
namespace {

struct Half {
  std::uint16_t bits;
};

float as_float(float value) {
  return value;
}
float as_float(double value) {
  return float(value);
}
float as_float(bf16 value) {
  return float(value);
}
float as_float(Half value) {
  return float16_to_float(value.bits);
}

template <class To>
To from_float(float value) {
  return To(value);
}
template <>
Half from_float<Half>(float value) {
  return {float_to_float16(value)};
}

template <class To, class From>
void convert_all(const void* in, void* out, std::int64_t count) {
  const From* source = static_cast<const From*>(in);
  To* target = static_cast<To*>(out);
  for (std::int64_t i = 0; i < count; ++i) target[i] = from_float<To>(as_float(source[i]));
}

template <class From>
void convert_to(Dtype to, const void* in, void* out, std::int64_t count) {
  switch (to) {
    case Dtype::float32: return convert_all<float, From>(in, out, count);
    case Dtype::bfloat16: return convert_all<bf16, From>(in, out, count);
    case Dtype::float16: return convert_all<Half, From>(in, out, count);
    case Dtype::float64: return convert_all<double, From>(in, out, count);
    case Dtype::int32:
    case Dtype::int64: break;
  }
}

}  // namespace

void convert(Dtype from, const void* in, Dtype to, void* out, std::int64_t count) {
  if (from == to) {
    if (count > 0) std::memcpy(out, in, std::size_t(count * size_of(from)));
    return;
  }
  if (!is_floating(from) || !is_floating(to)) {
    throw std::logic_error("no conversion of " + std::string(name_of(from)) + " to " +
                           std::string(name_of(to)));
  }
  switch (from) {
    case Dtype::float32: return convert_to<float>(to, in, out, count);
    case Dtype::bfloat16: return convert_to<bf16>(to, in, out, count);
    case Dtype::float16: return convert_to<Half>(to, in, out, count);
    case Dtype::float64: return convert_to<double>(to, in, out, count);
    case Dtype::int32:
    case Dtype::int64: break;
  }
}

float float16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = std::uint32_t(bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fu, fraction = bits & 0x3ffu;
  if (exponent == 0) {  // zero and subnormals: fraction * 2^-24
    const float magnitude = float(fraction) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f80'0000u | (fraction << 13));
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
}

std::uint16_t float_to_float16(float value) {
  const std::uint32_t word = std::bit_cast<std::uint32_t>(value);
  const auto sign = std::uint16_t((word >> 16) & 0x8000u);
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return std::uint16_t(sign | 0x7e00u | ((word >> 13) & 0x1ffu));
  if (magnitude >= 65520.0f) return std::uint16_t(sign | 0x7c00u);  // halfway to 2^16 and above: infinity
  if (magnitude < 0x1p-14f) {                                       // subnormal: a multiple of 2^-24
    return std::uint16_t(sign | std::uint16_t(std::nearbyint(magnitude * 0x1p24f)));
  }
  const std::uint32_t bits = word & 0x7fff'ffffu;
  const std::uint32_t rounded = bits + 0xfffu + ((bits >> 13) & 1u);
  return std::uint16_t(sign | ((rounded - (std::uint32_t{112} << 23)) >> 13));
}

}  // namespace moebius
