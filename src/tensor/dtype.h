#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/bf16.h"

namespace moebius {

/// Element types that files and exchanges know.
enum class Dtype : std::uint8_t { float32, bfloat16, float16, float64, int32, int64 };

template <class T>
inline constexpr Dtype kDtypeOf = [] { static_assert(sizeof(T) == 0, "no Dtype for this type"); }();
template <>
inline constexpr Dtype kDtypeOf<float> = Dtype::float32;
template <>
inline constexpr Dtype kDtypeOf<double> = Dtype::float64;
template <>
inline constexpr Dtype kDtypeOf<bf16> = Dtype::bfloat16;
template <>
inline constexpr Dtype kDtypeOf<std::int32_t> = Dtype::int32;
template <>
inline constexpr Dtype kDtypeOf<std::int64_t> = Dtype::int64;

constexpr std::int64_t size_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::bfloat16:
    case Dtype::float16: return 2;
    case Dtype::float32:
    case Dtype::int32: return 4;
    case Dtype::float64:
    case Dtype::int64: return 8;
  }
  return 0;
}

/// "float32", "bfloat16", ...: the words of config.json and of --dtype.
[[nodiscard]] std::string_view name_of(Dtype dtype);
/// The reverse of name_of; nothing for a word that is none.
[[nodiscard]] std::optional<Dtype> dtype_named(std::string_view name);

}  // namespace moebius
